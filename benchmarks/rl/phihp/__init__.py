"""The six tasks of PhIHP: return after few real steps, and the time of an action.

El Asri, Sigaud & Thome, Physics-Informed Model and Hybrid Planning for Efficient Dyna-Style
Reinforcement Learning, RLC 2024, arXiv:2407.02217, and the repository that it names.

What had to be inferred, since the paper's appendix could not be read and the repository decided:
- the reward of the cart-pole swing-up is greatest where the pole lies and its middle is at the
  centre, (l cos θ)² where one would expect (l − l cos θ)²; as published, also in the planner there;
- friction of the acrobot's shoulder speeds up, and its torque has a minus;
- the acrobot that is swung up has motors at both joints;
- the pendulum that starts anywhere has no limit of speed, the one that starts hanging has 8 rad/s;
- whether a mean return is over the last policy's episodes: here five or ten episodes apart from
  training.

What differs from the paper's planner: horizons are 5 to 50 steps and not 3 to 6, the critic stands
at the end on the acrobot only and a value iterated on the model on the pendulum that swings up, on
the other tasks nothing does; on cart-pole and acrobot the cost is shaped, where the paper
plans with the published reward. Returns are of the published reward throughout.

Every real step is counted, episodes of evaluation are not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.rl.phihp.method import SETTINGS, imagined, learned, planner
from benchmarks.rl.phihp.tasks import TASKS
from benchmarks.rl.phihp.timing import ratio
from hybridmodel import receding_horizon
from hybridmodel.rl.learning import trial
from hybridmodel.statistics import interquartile_mean, interval

_SEEDS = 10
_TRIALS = {"pendulum": 10, "pendulum swing-up": 10, "cart-pole": 10}  # of evaluation; others 5


def cells(quick: bool) -> list[dict[str, Any]]:
    """One for each seed of a task, and one for the time of its actions; two tasks where quick."""
    names = list(TASKS)[:2] if quick else list(TASKS)
    returns = [
        {
            "figure": "return",
            "task": name,
            "trials": 2 if quick else _TRIALS.get(name, 5),
            "seed": seed,
        }
        for name in names
        for seed in range(1 if quick else _SEEDS)
    ]
    return returns + [{"figure": "time", "task": name, "seed": 0} for name in names]


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    """Mean return and real steps of a seed, or milliseconds of a plan."""
    task, settings = TASKS[arguments["task"]], SETTINGS[arguments["task"]]
    seed = int(arguments["seed"])
    if arguments["figure"] == "time":
        return ratio(task, settings, seed)
    began = time.perf_counter()
    found = learned(task, settings, seed)
    modelled = time.perf_counter()
    agent, value = imagined(task, settings, found, seed)
    trained = time.perf_counter()
    plant, trials = task.plant(), int(arguments["trials"])
    control = receding_horizon(planner(task, settings, found.model, agent, value))
    returns = trial(plant, control, task.steps, trials, seed=seed)
    alone = trial(plant, agent.policy(), task.steps, trials, seed=seed)
    return {
        "return": float(np.mean(returns)),
        "lowest": float(np.min(returns)),
        "policy alone": float(np.mean(alone)),
        "steps": sum(episode.steps for episode in found.episodes),
        "model seconds": modelled - began,
        "agent seconds": trained - modelled,
        "trial seconds": time.perf_counter() - trained,
    }


def rows(results: list[tuple[dict, dict]]) -> Iterator[Row]:
    """Means with their bars; interquartile means with their intervals beside them."""
    for name, task in TASKS.items():
        found = [n for c, n in results if (c["figure"], c["task"]) == ("return", name)]
        if found:
            returns = [n["return"] for n in found]
            steps = max(n["steps"] for n in found)
            count = len(found)
            yield Row(
                f"PhIHP {name}: return", float(np.mean(returns)), "", f"≥ {task.paper:g}", count
            )
            middle, spread = interquartile_mean(returns), interval(returns)
            yield Row(f"PhIHP {name}: return, IQM", middle, "", "", count, spread)
            alone = [n["policy alone"] for n in found]
            yield Row(f"PhIHP {name}: policy alone", float(np.mean(alone)), "", "", count)
            bar = f"≤ {task.paper_steps}"
            yield Row(f"PhIHP {name}: real steps", steps, "", bar, count)
    for name in TASKS:
        timed = [n for c, n in results if (c["figure"], c["task"]) == ("time", name)]
        for numbers in timed:
            figure = f"PhIHP {name}: time of a plan / plain torch"
            spread = numbers["ratio low"], numbers["ratio high"]  # over rounds
            yield Row(figure, numbers["ratio"], "", "≤ 1", len(timed), spread)
            yield Row(f"PhIHP {name}: time of a plan", numbers["milliseconds"], "ms")
