"""`dyna`: a policy learns from steps of a plant and from many more of the model fitted to them.

    episode with π → all steps so far → model → rollouts from real states → SAC → π → …

Sutton, Dyna, SIGART 1991; Janner, Fu, Zhang & Levine, When to Trust Your Model: Model-Based Policy
Optimization, NeurIPS 2019, algorithm 2, with a round after each episode in place of each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hybridmodel.collection import Environment, Policy
from hybridmodel.model import HybridModel
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.branching import rollouts as rolled_out
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.imagination import Ended, Imagination, Members, RewardOf
from hybridmodel.rl.learning import (
    Fitting,
    Start,
    dealt,
    drawn_episode,
    fitted,
    seed_of,
)
from hybridmodel.rl.open_loop import check_step
from hybridmodel.rl.transitions import Episode, Transitions
from hybridmodel.whole import whole

_PLANT, _FIT, _IMAGINE = 11, 12, 13  # streams of seeds


@dataclass(frozen=True)
class Schedule:
    """Length of imagined rollouts: from `first` at step `start` to `last` at step `end`, linearly.

    Janner et al., table 2. Raises ValueError where it would shrink or be below 1.
    """

    first: int = 1
    last: int = 10
    start: int = 0
    end: int = 2000

    def __post_init__(self) -> None:
        if not (1 <= self.first <= self.last and 0 <= self.start < self.end):
            raise ValueError(f"wanted 1 ≤ first ≤ last and 0 ≤ start < end, got {self}")

    def __call__(self, steps: int) -> int:
        share = min(max((steps - self.start) / (self.end - self.start), 0.0), 1.0)
        return self.first + round(share * (self.last - self.first))


@dataclass(frozen=True)
class Dyna:
    """What `dyna` made: agent and model, all episodes, and a row of numbers after each.

    A row holds `steps` (of the plant, up to and with it), `return` of the episode, `evaluation`
    where one was due (else NaN), `seconds`; after the warm-up also the `length` of rollouts,
    `imagined` steps and the `cut` share of those allowed that ends and stops took.
    """

    agent: Agent
    model: HybridModel
    episodes: tuple[Episode, ...]
    history: tuple[Mapping[str, float], ...]


def dyna(
    plant: Environment,
    model: HybridModel,
    reward: RewardOf,
    agent: Agent,
    *,
    steps: int,
    episode_steps: int,
    warmup: Policy,
    warmup_steps: int,
    start: Start | None = None,
    fitting: Fitting | None = fitted,
    refit_every: int = 250,
    piece: int = 20,
    length: int | Schedule = 5,
    rollouts_per_step: int = 10,
    updates_per_step: int = 10,
    updates_per_round: int = 50,
    member: Members = "random",
    noise: bool = False,
    stop: float | None = None,
    penalty: float = 0.0,
    ended: Ended | None = None,
    evaluate: Callable[[Agent], float] | None = None,
    evaluate_every: int = 250,
    enough: float = float("inf"),
    progress: Callable[[Mapping[str, float]], None] | None = None,
    seed: int = 0,
) -> Dyna:
    """Learn a policy for a plant; `agent` is taught and returned.

    steps, episode_steps   of the plant: all together, and of an episode at most
    warmup, warmup_steps   an excitation, and how many steps it has the plant
    start        generator ↦ x₀ (nx,) of an episode; default: where the plant starts
    fitting      (model, train, validation, seed) ↦ fitted model, always from the untrained one;
                 None where the model is known
    refit_every  steps of the plant after which the model is fitted anew, at the end of an episode
    piece        as of `learn`: shortest part of a log that is fitted; until a log is that long
                 the model stays as it came
    length       of imagined rollouts, or a `Schedule`
    rollouts_per_step, updates_per_step   for each step of the plant; they are made in rounds of
                 `updates_per_round` updates, each with rollouts of the policy as it is then
    member, noise, stop, penalty, ended   as of `Imagination`; a recurrent residual begins each
                 rollout without a past
    evaluate     mean return of separate episodes, whose steps are not counted; it is called every
                 `evaluate_every` steps, and at the end
    enough       an evaluation that ends it

    Imagined steps stay in `agent.imagined` until its capacity is full, those of earlier models too.
    Raises ValueError naming the argument.
    """
    steps, episode_steps = whole("steps", steps), whole("episode_steps", episode_steps)
    warmup_steps = whole("warmup_steps", warmup_steps)
    refit_every = whole("refit_every", refit_every)
    rollouts_per_step = whole("rollouts_per_step", rollouts_per_step)
    updates_per_step = whole("updates_per_step", updates_per_step)
    updates_per_round = whole("updates_per_round", updates_per_round)
    evaluate_every, seed = whole("evaluate_every", evaluate_every), whole("seed", seed, 0)
    if warmup_steps > steps:
        raise ValueError(f"warmup_steps must be at most steps, {steps}, got {warmup_steps}")
    if not isinstance(length, Schedule):
        length = whole("length", length)
        length = Schedule(length, length, 0, 1)
    check_step(plant, model)
    if agent.coordinates.about != Coordinates(model.system).about:
        raise ValueError(
            f"agent: its states or inputs, or their bounds, are not those of the model's "
            f"{type(model.system).__name__}"
        )
    if model.system.outputs != model.system.states:
        raise ValueError(
            f"model: {type(model.system).__name__} does not measure its states, and a policy sees "
            "what is measured"
        )
    rules: dict[str, Any] = {
        "member": member,
        "noise": noise,
        "stop": stop,
        "penalty": penalty,
        "ended": ended,
    }
    Imagination(model, reward, **rules)  # what does not fit is said before the plant moves
    untrained, done = model, list[Episode]()
    history: list[Mapping[str, float]] = []
    generator = torch.Generator().manual_seed(seed_of(seed, _IMAGINE))
    total = fitted_at = evaluated_at = 0
    while total < steps:
        began = time.perf_counter()
        warm = total < warmup_steps
        policy = warmup if warm else agent.policy(deterministic=False)
        left = (warmup_steps if warm else steps) - total
        stream = (seed, _PLANT, len(done))
        episode = drawn_episode(plant, policy, min(episode_steps, left), start, stream)
        done.append(episode)
        total += episode.steps
        agent.real.add(episode.transitions())
        row = {"steps": float(total), "return": episode.value}
        if total >= warmup_steps:
            unfitted = not fitted_at or total - fitted_at >= refit_every
            if fitting is not None and unfitted and max(e.steps for e in done) >= piece:
                parts = dealt([e.log for e in done], piece)
                model = fitting(untrained, *parts, seed_of(seed, _FIT, total))
                fitted_at = total
            fresh = total if warm else episode.steps
            imagined = Imagination(model, reward, **rules)
            row |= _taught(
                agent,
                imagined,
                done,
                length(total),
                updates=fresh * updates_per_step,
                each=updates_per_round,
                rollouts=rollouts_per_step / updates_per_step,
                generator=generator,
            )
        due = total - evaluated_at >= evaluate_every or total >= steps
        row["evaluation"] = float("nan")
        if evaluate is not None and due and total >= warmup_steps:
            row["evaluation"], evaluated_at = evaluate(agent), total
        row["seconds"] = time.perf_counter() - began
        history.append(row)
        if progress is not None:
            progress(row)
        if row["evaluation"] >= enough:
            break
    return Dyna(agent, model, tuple(done), tuple(history))


def _taught(
    agent: Agent,
    imagined: Imagination,
    done: Sequence[Episode],
    length: int,
    *,
    updates: int,
    each: int,
    rollouts: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """Rounds of imagined rollouts, so many for each update, and updates."""
    real = Transitions.joined([e.transitions() for e in done])
    made = allowed = 0
    for round_ in range(-(-updates // each)):
        now = min(each, updates - round_ * each)
        count = max(1, round(rollouts * now))
        starts = imagined.model.initial_state(real.drawn(count, generator).x)
        found = rolled_out(
            imagined, agent.exploring(generator), starts, length, generator=generator
        )
        agent.imagined.add(found)
        made, allowed = made + len(found), allowed + count * length
        agent.learn(now)
    return {"length": float(length), "imagined": float(made), "cut": 1 - made / max(1, allowed)}
