"""The loop of collecting, fitting and planning: it learns, resumes, and counts honestly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals
from hybridmodel.rl.exploration import Curiosity
from hybridmodel.rl.learning import Learning, dealt, learn
from hybridmodel.rl.reward import Reward

SYSTEM = physics.Pendulum(inputs=(physics.Signal("torque", "N·m", -6.0, 6.0),))
HIDDEN = envs.HiddenEffects(parameters={"mass": 1.4}, coulomb=(0.3,))
COST = hm.Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.05}, input={"torque": 0.01}, target={"angle": 1.0}
)


class Counted(envs.OdePlant):
    """A plant that counts its steps."""

    count = 0

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        type(self).count += 1
        super()._advance(applied, force)


def plant(kind: type = envs.OdePlant) -> Any:
    return kind(SYSTEM, dt=0.05, hidden=HIDDEN, reward=Reward(SYSTEM, COST).of_plant)


def hybrid() -> hm.HybridModel:
    return hm.HybridModel(
        SYSTEM,
        residuals.Ensemble((8,), count=3),
        dt=0.05,
        placement=placement.input,
        fit_parameters=("mass",),
    )


def control(model: hm.HybridModel) -> hm.Policy:
    problem = hm.OptimalControlProblem(model, COST, horizon=12)
    return hm.receding_horizon(hm.CEM(problem, samples=60, elites=8, iterations=3), every=3)


def fitting(model, train, validation, seed):
    return hm.fit(model, train, validation, horizons=(1, 3), epochs=(8, 8), seed=seed).model


def run(folder: Path | None = None, episodes: int = 2, **other: Any) -> Learning:
    return learn(
        plant(),
        hybrid(),
        control,
        episodes=episodes,
        steps=40,
        fitting=fitting,
        trials=1,
        folder=folder,
        **other,
    )


@pytest.mark.slow
def test_it_learns_what_the_plant_hides() -> None:
    found = run()
    assert found.history[0]["return"] < found.history[-1]["trials"][0]
    assert found.model.parameter_values()["mass"] == pytest.approx(1.4, abs=0.25)
    assert [row["steps"] for row in found.history] == [40, 80]


def test_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = run()
    run(tmp_path, episodes=1)
    rows: list = []
    resumed = run(tmp_path, progress=rows.append)
    assert [row["episode"] for row in rows] == [1]
    again = run(tmp_path)
    for other in (resumed, again):
        for key, value in whole.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[key])
        assert [e.log == o.log for e, o in zip(whole.episodes, other.episodes, strict=True)]
        assert [row["trials"] for row in whole.history] == [row["trials"] for row in other.history]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, episodes=1)
    with pytest.raises(ValueError, match=r"folder: .* holds episodes of another seed"):
        run(tmp_path, episodes=1, seed=1)


def test_a_folder_knows_the_plant_and_the_model(tmp_path: Path) -> None:
    def again(to: Any, model: hm.HybridModel) -> Learning:
        return learn(to, model, control, episodes=1, steps=8, fitting=None, folder=tmp_path)

    again(plant(), hybrid())
    heavy = physics.Pendulum(mass=5.0, inputs=SYSTEM.inputs)
    short = envs.OdePlant(SYSTEM, dt=0.05, hidden=HIDDEN, reward=plant()._reward, episode_steps=7)
    moved = envs.OdePlant(SYSTEM, dt=0.05, hidden=HIDDEN, initial_state=[1.0, 0.0])
    for other in (envs.OdePlant(heavy, dt=0.05, hidden=HIDDEN), short, moved):
        with pytest.raises(ValueError, match="holds episodes of another plant"):
            again(other, hybrid())
    warm = hybrid()
    with torch.no_grad():
        warm.theta.add_(1.0)
    with pytest.raises(ValueError, match="holds episodes of another model"):
        again(plant(), warm)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    ints = {"episodes": np.int64(1), "steps": np.int64(8), "seed": np.uint8(3)}
    found = learn(plant(), hybrid(), control, fitting=None, folder=tmp_path, **ints)  # type: ignore[arg-type]
    again = learn(plant(), hybrid(), control, fitting=None, folder=tmp_path, **ints)  # type: ignore[arg-type]
    assert np.array_equal(found.episodes[0].log.u, again.episodes[0].log.u)
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1, got True"):
        learn(plant(), hybrid(), control, episodes=1, steps=True)


def test_an_episode_is_never_collected_twice(tmp_path: Path) -> None:
    def failing(model, train, validation, seed):
        raise RuntimeError("no fit")

    Counted.count = 0
    with pytest.raises(RuntimeError, match="no fit"):
        learn(
            plant(Counted),
            hybrid(),
            control,
            episodes=1,
            steps=20,
            fitting=failing,
            folder=tmp_path,
        )
    found = learn(
        plant(Counted), hybrid(), control, episodes=1, steps=20, fitting=None, folder=tmp_path
    )
    assert Counted.count == found.history[-1]["steps"] == 20


def test_a_plant_of_another_step_is_refused() -> None:
    slow = envs.OdePlant(SYSTEM, dt=0.1, reward=Reward(SYSTEM, COST).of_plant)
    with pytest.raises(ValueError, match=r"plant: a step of it lasts 0.1 s, one of the model 0.05"):
        learn(slow, hybrid(), control, episodes=1, steps=5, fitting=None)


def test_steps_are_those_of_the_plant_but_for_trials() -> None:
    Counted.count = 0
    found = learn(plant(Counted), hybrid(), control, episodes=1, steps=20, fitting=None)
    assert Counted.count == found.history[-1]["steps"] == 20
    assert found.model.residual is not None
    assert not any(p.any() for p in found.model.residual.member(0)(torch.zeros(3, 4).double()))


def test_curiosity_is_worth_what_members_dispute() -> None:
    model = run(episodes=1).model
    problem = hm.OptimalControlProblem(model, Curiosity(model), horizon=1)
    x, u = np.array([2.5, -6.0]), np.array([-3.0])
    doubt = hm.disagreement(model, torch.tensor(x), torch.tensor(u)).item() ** 2
    stage = float(problem.stage(x, u, 0, np.zeros(0), problem.weights()))
    assert stage == pytest.approx(-doubt / (1 + doubt), rel=1e-9)
    both = Curiosity(model, COST, weight=2.0)
    with_task = hm.OptimalControlProblem(model, both, horizon=1)
    task = hm.OptimalControlProblem(model, COST, horizon=1)
    told = float(with_task.stage(x, u, 0, np.zeros(0), with_task.weights()))
    assert told == pytest.approx(stage + 2 * float(task.stage(x, u, 0, [], [])), rel=1e-9)


def test_every_step_is_dealt_once() -> None:
    with plant() as p:
        logs = [hm.collect(p, hm.Multisine(SYSTEM.inputs), steps=n, seed=n) for n in (45, 20, 7)]
    train, validation = dealt(logs, 10)
    assert train.steps + validation.steps == 65
    assert min(t.steps for t in (*train, *validation)) >= 10
    assert 10 <= validation.steps <= 30
    with pytest.raises(ValueError, match="no log is 50 steps long, the longest has 45"):
        dealt(logs, 50)


@pytest.mark.parametrize("name", ["episodes", "steps", "piece"])
def test_bad_arguments_are_named(name: str) -> None:
    arguments = {"episodes": 1, "steps": 5, name: 0}
    with pytest.raises(ValueError, match=name):
        learn(plant(), hybrid(), control, **arguments)


def test_its_curve_is_drawn_from_its_history(tmp_path: Path) -> None:
    from hybridmodel.report.control_errors import write_pictures
    from hybridmodel.report.learning import learning_picture

    rows = [{"steps": 40 * k, "trials": [k - 1.0, k + 1.0]} for k in (1, 2, 3)]
    picture = learning_picture({"hybrid": [rows], "network": [rows[:2]]})
    assert "network 2 after 80 real steps, hybrid 3 after 120" in picture.finding
    page = write_pictures(tmp_path / "learning.html", {"Learning": picture}, title="Loop")
    assert "<svg" in page.read_text()
    with pytest.raises(ValueError, match="'hybrid' needs runs with evaluation"):
        learning_picture({"hybrid": [[{"steps": 1, "trials": []}]]})
