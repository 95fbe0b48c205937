"""`learn`: collect an episode, fit the model to all of them, plan with it, again.

    π₀ → episode 0 → fit → π₁ = control(model₁) → episode 1 → fit → …

Chua, Calandra, McAllister & Levine, Deep Reinforcement Learning in a Handful of Trials using
Probabilistic Dynamics Models, NeurIPS 2018, algorithm 1; here with any planner and any model:
known, partly known, or a network alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.checkpoint import load, save
from hybridmodel.collection import Environment, Policy
from hybridmodel.data import Dataset, Trajectory, load_npz, save_npz
from hybridmodel.files import write_atomically
from hybridmodel.fitting import fit
from hybridmodel.model import HybridModel
from hybridmodel.rl.open_loop import check_step
from hybridmodel.rl.transitions import Episode, run_episode
from hybridmodel.whole import whole

Control = Callable[[HybridModel], Policy]
Fitting = Callable[[HybridModel, Dataset, Dataset, int], HybridModel]
Start = Callable[[np.random.Generator], np.ndarray]
Progress = Callable[[Mapping[str, Any]], None]
_HELD_OUT = 5  # of so many pieces of logs one is for validation
_EPISODE, _TRIAL, _FIT = 1, 2, 3  # streams of seeds


@dataclass(frozen=True)
class Learning:
    """What `learn` made: the last model, all episodes, and a row of numbers after each.

    A row holds `episode`, `steps` (of the plant, up to and with it), `return` of the episode,
    `trials` (returns of separate evaluation episodes with the model fitted since), `seconds`.
    """

    model: HybridModel
    episodes: tuple[Episode, ...]
    history: tuple[Mapping[str, Any], ...]


def fitted(model: HybridModel, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    """`fit` over one and five steps from the untrained model, as `learn` does unless told."""
    return fit(model, train, validation, horizons=(1, 5), epochs=(20, 30), seed=seed).model


def learn(
    plant: Environment,
    model: HybridModel,
    control: Control,
    *,
    episodes: int,
    steps: int,
    first: Policy | None = None,
    explore: Control | None = None,
    start: Start | None = None,
    fitting: Fitting | None = fitted,
    piece: int = 20,
    trials: int = 0,
    trial_steps: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Learning:
    """Learn a model of a plant from episodes that are planned with it.

    plant     with a reward; `collect` and nothing else touches it
    model     untrained: it is fitted to all logs anew after each episode
    control   model ↦ policy, like λm. receding_horizon(CEM(OptimalControlProblem(m, cost, …)))
    episodes, steps   how many, and of how many steps at most
    first     policy of the first episode; default: control(model), that of the physics as known
    explore   control of episodes from the second on; default: `control`
    start     generator ↦ x₀ (nx,) of an episode; default: where the plant starts
    fitting   (model, train, validation, seed) ↦ fitted model; None where the model is known
    piece     logs are cut into pieces of at least so many steps, of which every fifth is for
              validation; shorter logs are left out of the fit, and until a log is that long the
              model stays as it came
    trials    evaluation episodes with `control` after each fit, with starts of their own and of
              `trial_steps`, default `steps`; they teach nothing and are not counted
    folder    of what was done; a call with the same arguments goes on from it, to the same bits.
              It knows another plant, model or number, but not another function: where `control`,
              `fitting` or a reward has changed, take another folder
    progress  called after each episode with its history row

    Ctrl-C leaves a folder from which the next call goes on; an episode that was collected is never
    collected again. Raises ValueError naming the argument.
    """
    episodes, steps, piece = (
        whole("episodes", episodes),
        whole("steps", steps),
        whole("piece", piece),
    )
    length = steps if trial_steps is None else whole("trial_steps", trial_steps)
    trials, seed = whole("trials", trials, 0), whole("seed", seed, 0)
    if fitting is not None and piece <= model.memory_steps:
        raise ValueError(
            f"piece must be longer than what the model remembers, {model.memory_steps} steps, "
            f"got {piece}"
        )
    check_step(plant, model)
    numbers = {"steps": steps, "piece": piece, "trial_steps": length}
    numbers |= {"trials": trials, "seed": seed}
    kept = None if folder is None else _Kept(Path(folder), plant, model, numbers)
    done: list[Episode] = []
    history: list[Mapping[str, Any]] = []
    current = model
    for k in range(episodes):
        known = None if kept is None else kept.read(k, model)
        if known is not None:
            episode, current, row = known
            done.append(episode)
            history.append(row)
            continue
        began = time.perf_counter()
        episode = None if kept is None else kept.episode(k)
        if episode is None:
            if k == 0:
                policy = control(model) if first is None else first
            else:
                policy = (control if explore is None else explore)(current)
            episode = drawn_episode(plant, policy, steps, start, (seed, _EPISODE, k))
            if kept is not None:
                kept.write_episode(k, episode)
        done.append(episode)
        if fitting is not None and max(e.steps for e in done) >= piece:
            train, validation = dealt([e.log for e in done], piece)
            current = fitting(model, train, validation, seed_of(seed, _FIT, k))
        returns = []
        if trials:
            returns = trial(plant, control(current), length, trials, start=start, seed=seed)
        row = {
            "episode": k,
            "steps": sum(e.steps for e in done),
            "return": episode.value,
            "trials": returns,
            "seconds": time.perf_counter() - began,
        }
        history.append(row)
        if kept is not None:
            kept.write(k, current, row)
        if progress is not None:
            progress(row)
    return Learning(current, tuple(done), tuple(history))


def trial(
    plant: Environment,
    policy: Policy,
    steps: int,
    count: int,
    *,
    start: Start | None = None,
    seed: int = 0,
) -> list[float]:
    """Returns of so many evaluation episodes; those of one seed start alike for every policy."""
    steps, count = whole("steps", steps), whole("count", count)
    found = (drawn_episode(plant, policy, steps, start, (seed, _TRIAL, k)) for k in range(count))
    return [episode.value for episode in found]


def dealt(logs: Sequence[Trajectory], piece: int) -> tuple[Dataset, Dataset]:
    """Pieces of logs for fitting and for validation; one piece alone is for both.

    Raises ValueError where all logs are shorter than a piece.
    """
    pieces: list[Trajectory] = []
    for log in logs:
        count = log.steps // piece
        pieces += [
            log[i * piece : (i + 1) * piece if i + 1 < count else None] for i in range(count)
        ]
    if not pieces:
        longest = max(log.steps for log in logs)
        raise ValueError(f"piece: no log is {piece} steps long, the longest has {longest}")
    if len(pieces) == 1:
        return Dataset(pieces), Dataset(pieces)
    last = _HELD_OUT - 1
    validation = [p for i, p in enumerate(pieces) if i % _HELD_OUT == last] or pieces[-1:]
    train = [p for p in pieces if not any(p is v for v in validation)]
    return Dataset(train), Dataset(validation)


def drawn_episode(
    plant: Environment, policy: Policy, steps: int, start: Start | None, stream: tuple[int, ...]
) -> Episode:
    """An episode whose start and seed are those of a stream."""
    state = None if start is None else start(np.random.default_rng(stream))
    return run_episode(plant, policy, steps=steps, seed=seed_of(*stream), state=state)


def seed_of(*stream: int) -> int:
    """One seed of its own for each place in a run."""
    return int(np.random.SeedSequence(stream).generate_state(1)[0])


class _Kept:
    """What is done, on disk: the log of an episode at once, then the model fitted since."""

    def __init__(
        self, folder: Path, plant: Environment, model: HybridModel, numbers: Mapping[str, int]
    ) -> None:
        residual = model.residual
        weights = {
            name: hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in model.state_dict().items()
        }
        about = {
            "plant": [
                *(type(plant).__name__, float(plant.dt)),
                *(repr(getattr(plant, name, None)) for name in ("settings", "system")),
            ],
            "model": [
                *(type(model.system).__name__, repr(model.system), model.dt, model.hold),
                *(model.placement.name, model.fit_parameters, model.features, model.substeps),
                *(model.integrator.name, None if residual is None else residual.config(), weights),
            ],
        }
        self.folder = folder
        self.of = {name: _digest(value) for name, value in about.items()} | dict(numbers)
        folder.mkdir(parents=True, exist_ok=True)

    def write_episode(self, k: int, episode: Episode) -> None:
        save_npz(Dataset([episode.log]), self._path(k, "npz"))
        told = {"rewards": episode.rewards.tolist(), "ended": episode.ended}
        content = {"of": self.of, **told, "direct": episode.direct}
        write_atomically(self._path(k, "json"), json.dumps(content).encode())

    def write(self, k: int, model: HybridModel, row: Mapping[str, Any]) -> None:
        save(model, self._path(k, "safetensors"))
        write_atomically(self._path(k, "row.json"), json.dumps(dict(row)).encode())

    def episode(self, k: int) -> Episode | None:
        path = self._path(k, "json")
        if not path.exists():
            return None
        content = json.loads(path.read_text())
        for name, value in self.of.items():
            if content["of"][name] != value:
                raise ValueError(
                    f"folder: {self.folder} holds episodes of another {name}; take another folder"
                )
        (log,) = load_npz(self._path(k, "npz"))
        rewards = np.array(content["rewards"])
        return Episode(log, rewards, content["ended"], content["direct"])

    def read(
        self, k: int, like: HybridModel
    ) -> tuple[Episode, HybridModel, Mapping[str, Any]] | None:
        path, episode = self._path(k, "row.json"), self.episode(k)
        if episode is None or not path.exists():
            return None
        file = self._path(k, "safetensors")
        model = load(file, system=like.system, residual=like.residual)
        return episode, model, json.loads(path.read_text())

    def _path(self, k: int, ending: str) -> Path:
        return self.folder / f"episode_{k:03d}.{ending}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]
