"""Dyna with a hybrid ensemble against soft actor-critic alone: steps of the plant to a solved task.

The model's physics are off (hidden friction, a weak motor with a dead zone; for MuJoCo's pendulum
masses, length and damping that are another machine's) and an ensemble corrects accelerations. The
agent is the same for all: networks, step sizes, discount. Alone it is Stable-Baselines3's SAC with
one update a step, on episodes of the same starts and length. In the model MuJoCo's episodes end
before the end of the rail too, since the cart must not meet it.

A seed has failed where its last evaluation is below the task's threshold. Steps to the threshold
are those before the first evaluation from which on all were above it; of SAC alone it is enough
that three in a row were. Where that never happened SAC counts with its whole budget, which
favours it, and a way with the model never. Evaluations are every 200 and 100 steps, of SAC alone
every 1000 and 500. Both make the same networks and use the same settings; with the model there are
20 updates a step, alone there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import casadi as ca
import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.figures import Row
from hybridmodel import placement
from hybridmodel.collection import Environment
from hybridmodel.costs import Cost
from hybridmodel.demo.cartpole import CARTPOLE
from hybridmodel.envs import GymnasiumPlant, make
from hybridmodel.excitation import RandomSteps
from hybridmodel.fitting import fit
from hybridmodel.model import HybridModel
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.learning import Start, trial
from hybridmodel.rl.mbpo import dyna
from hybridmodel.rl.model_env import Scaled
from hybridmodel.rl.reward import Reward
from hybridmodel.statistics import interquartile_mean, interval
from physics import CartPole, Signal, System
from residuals import Ensemble

Progress = Callable[[Mapping[str, float]], None]

HYBRID, PENALISED, ALONE = "hybrid", "hybrid, penalised", "plain SAC"
TRIALS = 5  # evaluation episodes

# of the agent, with the plant alone and with the model
HIDDEN = (64, 64)
RATE, BATCH, DISCOUNT, TARGET_RATE = 1e-3, 256, 0.98, 0.01
ENTROPY = "auto_0.1"  # α starts where rewards of about 1 are worth more than entropy

LENGTH = 50  # of imagined rollouts [steps]
STOP = 0.22  # disagreement that some early imagined steps exceed, and later hardly any
PENALTY = 1.0  # of a step where the correction may be anything of its usual size

# stop and penalty of each way with the model
WAYS: Mapping[str, tuple[float | None, float]] = {
    HYBRID: (STOP, 0.0),
    "hybrid without stop": (None, 0.0),
    PENALISED: (None, PENALTY),
}
METHODS = (*WAYS, ALONE)


class Upright(Cost):
    """ℓ = −½ (1 − cos θ) exp(−s²) / (1 + θ̇²/10) + 10⁻⁴ F².

    1 a step for a pole that stands still over the middle of its rail, less where it turns round.
    """

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        up = 0.5 * (1 - ca.cos(x[1])) * ca.exp(-(x[0] ** 2))
        return -up / (1 + x[3] ** 2 / 10) + 1e-4 * ca.sumsqr(u)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


class Alive(Cost):
    """ℓ = −1 as long as the episode lasts."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(-1.0)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


@dataclass(frozen=True)
class Trial:
    """A task: what is known of its plant, its reward, and how long it may take.

    threshold   mean return of a solved one
    """

    system: System
    cost: Cost
    plant: Callable[[], Any]
    dt: float
    fit_parameters: tuple[str, ...]
    threshold: float
    episode_steps: int
    training_steps: int
    warmup_steps: int
    budget: int
    budget_alone: int
    every: int
    every_alone: int
    piece: int
    start: Start | None = None


def _hanging(generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(-1, 1, 4) * np.array([0.3, 0.3, 0.0, 0.0])


def _bullet() -> Environment:
    system, cost = CartPole(), Upright()
    return make(
        system,
        dt=0.04,
        hidden=replace(CARTPOLE.hidden, observation_noise=0.0),
        reward=Reward(system, cost).of_plant,
    )


_INVERTED = CartPole(
    cart_mass=8.0,
    pole_mass=4.0,
    pole_length=0.4,
    pole_inertia=0.15,
    cart_damping=0.5,
    pole_damping=0.5,
    states=(
        Signal("position", "m", -0.95, 0.95),  # the rail ends at 1 m
        Signal("angle", "rad", math.pi - 0.2, math.pi + 0.2, angle=True),
        Signal("velocity", "m/s", rate_of="position"),
        Signal("rate", "rad/s", rate_of="angle"),
    ),
    inputs=(Signal("force", "N", -300.0, 300.0),),
)


def _mujoco() -> Any:
    def state(o: np.ndarray) -> np.ndarray:
        return np.array([o[0], math.pi - o[1], o[2], -o[3]])  # it falls to the right, ours turns

    return GymnasiumPlant(gymnasium.make("InvertedPendulum-v5"), _INVERTED, state=state)


TASKS: Mapping[str, Trial] = {
    "cart-pole swing-up (PyBullet)": Trial(
        system=CartPole(),
        cost=Upright(),
        plant=_bullet,
        dt=0.04,
        fit_parameters=CARTPOLE.recipe.fit_parameters,
        threshold=90.0,
        episode_steps=150,
        training_steps=100,
        warmup_steps=200,
        budget=1600,
        budget_alone=30_000,
        every=200,
        every_alone=1000,
        piece=25,
        start=_hanging,
    ),
    "InvertedPendulum-v5 (MuJoCo)": Trial(
        system=_INVERTED,
        cost=Alive(),
        plant=_mujoco,
        dt=0.04,
        fit_parameters=("cart_mass", "pole_mass", "pole_length", "cart_damping", "pole_damping"),
        threshold=950.0,
        episode_steps=1000,
        training_steps=100,
        warmup_steps=100,
        budget=600,
        budget_alone=20_000,
        every=100,
        every_alone=500,
        piece=4,
    ),
}


def cells(quick: bool) -> list[dict[str, Any]]:
    """Both tasks, ten seeds, the penalty on the first and on five; where it is quick one seed of
    short runs."""
    return [
        {"task": task, "method": method, "seed": seed, "quick": quick}
        for seed in range(1 if quick else 10)
        for task in TASKS
        for method in METHODS
        if method != PENALISED or (seed < 5 and task == next(iter(TASKS)))
    ]


def cell(arguments: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    torch.set_num_threads(1)
    task, seed = TASKS[arguments["task"]], int(arguments["seed"])
    alone = arguments["method"] == ALONE
    if arguments["quick"]:
        task = replace(task, budget=task.warmup_steps + 200, budget_alone=2 * task.every_alone)
    if alone:
        curve, cut = _alone(task, seed, progress), 0.0
    else:
        curve, cut = _dyna(task, seed, *WAYS[arguments["method"]], progress)
    steps, returns = map(list, zip(*curve, strict=True))
    budget = task.budget_alone if alone else task.budget
    reached = _reached(steps, returns, task.threshold, 3 if alone else len(steps))
    return {
        "final": returns[-1],
        "failed": float(returns[-1] < task.threshold),
        "reached": budget if reached is None and alone else reached,
        "censored": float(reached is None),
        "cut": cut,
        "steps": steps,
        "returns": returns,
    }


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    for task in TASKS:
        steps: dict[str, dict[int, float]] = {}
        for method in METHODS:
            both = [(c, n) for c, n in results if (c["task"], c["method"]) == (task, method)]
            found = [n for _, n in both]
            if not found:
                continue
            name, count = f"{task}, {method}", len(found)
            reached = [_or_never(n["reached"]) for n in found]
            steps[method] = {c["seed"]: _or_never(n["reached"]) for c, n in both}
            final = [n["final"] for n in found]
            yield Row(
                f"{name}: seeds that failed",
                sum(n["failed"] for n in found),
                bar="≤ 0" if method == HYBRID else "",
                seeds=count,
            )
            yield Row(
                f"{name}: steps of the plant to {TASKS[task].threshold:g}",
                interquartile_mean(reached),
                "steps",
                seeds=count,
                spread=interval(reached),
            )
            late = sum(n["censored"] for n in found)
            yield Row(f"{name}: seeds counted at the budget", late, seeds=count)
            yield Row(
                f"{name}: last return",
                interquartile_mean(final),
                seeds=count,
                spread=interval(final),
            )
            if method != ALONE:
                cut = float(np.mean([n["cut"] for n in found]))
                yield Row(f"{name}: imagined steps that ends and stops took", cut, seeds=count)
            seconds = float(np.mean([n["seconds"] for n in found if "seconds" in n] or [math.nan]))
            yield Row(f"{name}: compute", seconds, "s", seeds=count)
        for method in WAYS:
            seeds = steps.get(method, {}).keys() & steps.get(ALONE, {}).keys()
            if seeds:
                shares = [steps[method][s] / steps[ALONE][s] for s in sorted(seeds)]
                yield Row(
                    f"{task}, {method}: share of the steps of {ALONE}",
                    interquartile_mean(shares),
                    bar="≤ 0.2" if method == HYBRID else "",
                    seeds=len(shares),
                    spread=interval(shares),
                )


def _or_never(steps: float | None) -> float:
    return math.inf if steps is None else steps


def _reached(steps: list[int], returns: list[float], bar: float, enough: int) -> int | None:
    """Steps before the first evaluation that begins `enough` good ones, or good ones to the end."""
    for i in range(len(steps)):
        if all(value >= bar for value in returns[i : i + enough]):
            return steps[i]
    return None


def _dyna(
    task: Trial, seed: int, stop: float | None, penalty: float, progress: Progress | None
) -> tuple[list[tuple[int, float]], float]:
    """Evaluations, and the share of imagined steps that ends of episodes and stops took."""
    coordinates = Coordinates(task.system)
    agent = Agent(
        coordinates,
        hidden=HIDDEN,
        rate=RATE,
        batch_size=BATCH,
        discount=DISCOUNT,
        target_rate=TARGET_RATE,
        entropy=ENTROPY,
        seed=seed,
    )
    residual = Ensemble((32, 32), count=5, seed=seed)
    model = HybridModel(
        task.system,
        residual,
        dt=task.dt,
        placement=placement.acceleration,
        fit_parameters=task.fit_parameters,
    )
    with task.plant() as plant, task.plant() as judge:
        found = dyna(
            plant,
            model,
            Reward(task.system, task.cost),
            agent,
            steps=task.budget,
            episode_steps=task.training_steps,
            warmup=RandomSteps(task.system.inputs, amplitude=0.9),
            warmup_steps=task.warmup_steps,
            start=task.start,
            fitting=_fitting(task),
            refit_every=task.every,
            piece=task.piece,
            length=LENGTH,
            rollouts_per_step=4,
            updates_per_step=20,
            updates_per_round=500,
            stop=stop,
            penalty=penalty,
            evaluate=lambda agent: _judged(task, judge, agent.policy(), seed),
            evaluate_every=task.every,
            seed=seed,
            progress=progress,
        )
    rows = [r for r in found.history if not math.isnan(r["evaluation"])]
    cut = float(np.mean([r["cut"] for r in found.history if "cut" in r]))
    return [(int(r["steps"]), r["evaluation"]) for r in rows], cut


def _fitting(task: Trial) -> Callable[..., HybridModel]:
    def fitting(model: HybridModel, train: Any, validation: Any, seed: int) -> HybridModel:
        horizons = (1, min(5, task.piece))
        return fit(
            model, train, validation, horizons=horizons, epochs=(20, 30), rate=1e-2, seed=seed
        ).model

    return fitting


def _judged(task: Trial, plant: Any, policy: Any, seed: int) -> float:
    found = trial(plant, policy, task.episode_steps, TRIALS, start=task.start, seed=seed)
    return float(np.mean(found))


class _Started(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """A plant whose episodes start where the task says, and last as long as those of `dyna`."""

    def __init__(self, env: Any, task: Trial) -> None:
        super().__init__(env)
        self._task, self._k = task, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        self._k, start = 0, self._task.start
        options = None if start is None else {"state": start(self._generator)}
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Any]:
        o, reward, terminated, truncated, info = self.env.step(action)
        self._k += 1
        late = self._k >= self._task.training_steps
        return o, float(reward), terminated, truncated or late, info


class _Alone:
    """The mean policy of SAC as a policy of `collect`."""

    def __init__(self, sac: SAC, coordinates: Coordinates) -> None:
        self._sac, self._coordinates = sac, coordinates

    def reset(self, seed: int | None) -> None:
        return None

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        o = self._coordinates.observed(torch.as_tensor(y)).float().numpy()
        a, _ = self._sac.predict(o, deterministic=True)
        return self._coordinates.inputs(torch.as_tensor(a, dtype=torch.float64)).numpy()


class _Watched(BaseCallback):
    """Evaluations every so many steps, until three in a row are good."""

    def __init__(self, task: Trial, judge: Any, seed: int, progress: Progress | None) -> None:
        super().__init__()
        self.task, self.judge, self.seed, self.progress = task, judge, seed, progress
        self.curve: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.task.every_alone:
            return True
        policy = _Alone(cast(SAC, self.model), Coordinates(self.task.system))
        value = _judged(self.task, self.judge, policy, self.seed)
        self.curve.append((self.num_timesteps, value))
        if self.progress is not None:
            self.progress({"steps": self.num_timesteps, "evaluation": value})
        last = [value for _, value in self.curve[-3:]]
        return len(last) < 3 or min(last) < self.task.threshold


def _alone(task: Trial, seed: int, progress: Progress | None) -> list[tuple[int, float]]:
    with task.plant() as plant, task.plant() as judge:
        sac = SAC(
            "MlpPolicy",
            _Started(Scaled(plant), task),
            learning_rate=RATE,
            batch_size=BATCH,
            gamma=DISCOUNT,
            tau=TARGET_RATE,
            ent_coef=ENTROPY,
            learning_starts=task.warmup_steps,
            policy_kwargs={"net_arch": list(HIDDEN), "optimizer_kwargs": {"fused": True}},
            seed=seed,
            device="cpu",
        )
        watched = _Watched(task, judge, seed, progress)
        sac.learn(task.budget_alone, callback=watched)
    return watched.curve
