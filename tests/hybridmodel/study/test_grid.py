"""What a study is made of: its cells, its jobs and what it refuses."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybridmodel import Dataset, Trajectory, save_npz
from hybridmodel.study import Study, read_study
from hybridmodel.study.attribution import PREFIX, knowing, parts
from hybridmodel.study.models import MODELS
from hybridmodel.study.plants import plant_of
from hybridmodel.study.randomisation import drawn
from hybridmodel.tasks.study_tasks import EFFECTS, STUDY_TASKS

STUDY = Study(
    systems=("pendulum", "cartpole"),
    effects=("friction", "lag"),
    data=(15.0, 60.0),
    seeds=(0, 3),
)
KNOWN = 'systems = ["pendulum"]\neffects = ["lag"]\n'


def test_settings_tell_tasks_apart() -> None:
    one, other = STUDY.settings(), Study(systems=("pendulum",), effects=("lag",)).settings()
    assert one["pendulum"] == other["pendulum"] != one["cartpole"]
    quick = Study(systems=("pendulum",), effects=("lag",), quick=True)
    assert quick.settings()["pendulum"] != one["pendulum"]


def test_a_task_may_name_its_engine() -> None:
    task = replace(STUDY_TASKS["pendulum"](), engine="ode")
    plants = {name: plant_of(task, "lag", name) for name in ("logged", "mujoco", "friction")}
    assert {name: plant.engine for name, plant in plants.items()} == {
        "logged": "ode",
        "mujoco": "mujoco",
        "friction": "ode",
    }
    assert plants["friction"].task.hidden == task.effects["friction"]
    assert plants["mujoco"].task.hidden == task.effects["lag"]


def test_models_take_only_the_axes_that_they_have() -> None:
    cells = STUDY.cells()
    per_place = 2 * (1 + 1 + 2 + 2 + 1)  # planners × physics, identified, network, hybrid, oracle
    assert len(cells) == 2 * 2 * 2 * per_place
    assert len(set(cells)) == len(cells)
    assert {c.data for c in cells if c.model == "physics"} == {0.0}
    assert {c.data for c in cells if c.model == "identified"} == {60.0}
    assert {c.data for c in cells if c.model == "hybrid"} == {15.0, 60.0}
    assert {c.placement for c in cells if c.model != "hybrid"} == {""}


def test_logs_and_fits_are_shared() -> None:
    jobs = STUDY.jobs()
    kinds = [job.kind for job in jobs]
    assert kinds.count("log") == 2 * 2 * 2
    assert kinds.count("fit_model") == 2 * 2 * 2 * 7
    assert kinds.count("close_loop") == len(STUDY.cells())


def test_jobs_can_be_sent_to_other_processes() -> None:
    everything = Study(
        systems=tuple(STUDY_TASKS), effects=EFFECTS, models=tuple(MODELS), attribution=True
    )
    jobs = everything.jobs()
    for job in jobs[::37]:
        pickle.dumps((job.run, job.arguments))
    assert len({job.name for job in jobs}) == len(jobs)


def test_a_part_of_a_study_has_the_same_jobs() -> None:
    part = Study(systems=("cartpole",), effects=("lag",), data=(60.0,), seeds=(3,))
    assert {job.name for job in part.jobs()} <= {job.name for job in STUDY.jobs()}


def measured(dt: float = 0.04, torque: float = 0.0) -> Dataset:
    t = dt * np.arange(5)
    return Dataset([Trajectory(t=t, u=np.full((4, 1), torque), y=np.zeros((5, 2)))])


def test_measured_logs_have_no_planner() -> None:
    study = Study(
        systems=("pendulum",),
        effects=("all",),
        models=("physics",),
        measured={"pendulum": measured()},
        seeds=(0,),
    )
    assert [(c.plant, c.planner) for c in study.cells()] == [
        ("logged", "cem"),
        ("logged", "sqp"),
        ("measured", ""),
    ]
    assert [job.kind for job in study.jobs()].count("predict") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"systems": ("pendulum", "unicycle")}, "systems: 'unicycle' is none of"),
        ({"systems": ()}, "systems must be one or more distinct names"),
        ({"effects": ("rust",)}, r"effects \(pendulum\): 'rust' is none of"),
        ({"models": ("hybrid", "magic")}, "models: 'magic' is none of"),
        ({"placements": ("elbow",)}, "placements: 'elbow' is none of"),
        ({"plants": ("moon",)}, "plants: 'moon' is none of"),
        ({"data": (0.0,)}, "data must be distinct seconds > 0"),
        ({"data": (15.0, 15.0)}, "data must be"),
        ({"seeds": (0, 0)}, "seeds must be distinct integers"),
        ({"seeds": (-1,)}, "seeds must be"),
        ({"planners": ("cem", "magic")}, "planners: 'magic' is none of"),
        ({"quick": "no"}, "quick must be true or false"),
        ({"data": (True,)}, "data must be"),
        ({"data": (20.0, 20.0000001)}, "data must be"),
        ({"data": 60}, "data must be"),
        ({"effects": "lag"}, "effects .* must be one or more distinct names"),
        ({"measured": {"kuka": measured()}}, "measured: 'kuka' is none of systems"),
        ({"measured": {"pendulum": "x.npz"}}, "measured.pendulum must be a Dataset, got str"),
        ({"measured": {"pendulum": measured(0.1)}}, "has a step of 0.1 s, the task one of 0.04 s"),
        ({"measured": {"pendulum": measured(torque=180.0)}}, "torque reaches 180 and is bounded"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], says: str) -> None:
    given = {"systems": ("pendulum",), "effects": ("friction",)} | change
    with pytest.raises(ValueError, match=says):
        Study(**given)  # type: ignore[arg-type]


def test_measured_logs_are_read_as_toml_says(tmp_path: Path) -> None:
    header = "t_ms,enc,speed,tau\n"
    rows = [f"{40 * k},{90 + k},{0.25 * k},0.5" for k in range(5)]
    (tmp_path / "bench.csv").write_text(header + "\n".join(rows))
    save_npz(measured(), tmp_path / "log.npz")
    table = """
        [measured.pendulum]
        file = "bench.csv"
        time = "t_ms"
        columns = { angle = "enc", rate = "speed", torque = "tau" }
        units = { angle = "deg", time = "ms" }
    """
    path = tmp_path / "study.toml"
    path.write_text(KNOWN + table)
    (log,) = read_study(path).measured["pendulum"]
    np.testing.assert_allclose(log.y[:, 0], np.deg2rad(90 + np.arange(5)))
    assert log.dt == pytest.approx(0.04)
    path.write_text(KNOWN + '[measured]\npendulum = "log.npz"')
    assert len(read_study(path).measured["pendulum"][0].t) == 5


def test_toml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'systems = ["pendulum", "cartpole"]\neffects = ["friction", "lag"]\n'
        "data = [15, 60]\nseeds = [0, 3]\n"
    )
    assert read_study(path) == STUDY


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("systems = [", "is no TOML"),
        ('system = ["pendulum"]', "'system' is none of"),
        ("", "systems is missing"),
        ('systems = ["pendulum"]', "effects is missing"),
        (KNOWN + "[robot.pendulum]", "is there already"),
        ('systems = "pendulum"\neffects = ["lag"]', "systems must be one or more distinct names"),
        ('systems = ["arm"]\neffects = ["lag"]\n[robot.arm]\ndt = 0.01', "file is missing"),
        ('systems = ["arm"]\neffects = ["lag"]\n[robot.arm]\nfile = 3', "must be a str"),
        ('systems = ["arm"]\neffects = ["lag"]\n[robot.arm]\nurdf = "x"', "'urdf' is none of"),
        ('systems = ["arm"]\neffects = ["lag"]\n[robot.arm]\nfile = "no.urdf"', "no.urdf"),
        (KNOWN + '[measured]\narm = "x.csv"', "measured: 'arm' is none of"),
        (KNOWN + '[measured]\npendulum = "x.csv"', "measured.pendulum: .*x.csv"),
        (KNOWN + "[measured]\npendulum = 3", "measured.pendulum.file must be a str"),
        (KNOWN + '[measured.pendulum]\nunits = { angle = "deg" }', "file is missing"),
        (KNOWN + '[measured.pendulum]\nfile = "x"\nunits = 3', "units must be a table, got 3"),
    ],
)
def test_a_toml_file_that_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        read_study(path)
    assert "study.toml" in str(error.value)


def test_parts_together_are_all_that_is_hidden() -> None:
    for make in STUDY_TASKS.values():
        task = make()
        for effect in EFFECTS:
            known = task.under(effect)
            for name, hidden in parts(known).items():
                alone = knowing(known, name)
                assert alone.hidden == hidden
                assert set(parts(alone)) <= {name, "nothing"}
                assert hidden.observation_noise == known.hidden.observation_noise


def test_a_study_with_attribution_has_a_model_for_each_part() -> None:
    study = Study(systems=("pendulum",), effects=("all",), seeds=(0,), attribution=True)
    names = {cell.model for cell in study.cells() if cell.model.startswith(PREFIX)}
    assert names == {PREFIX + part for part in ("mass", "coulomb", "input_gain", "dead_zone")}


@pytest.mark.parametrize("name", list(STUDY_TASKS))
def test_drawn_plants_surround_the_nominal_one(name: str) -> None:
    task = STUDY_TASKS[name]()
    plants = drawn(task, 3)
    assert plants.intervals
    for k in range(5):
        hidden = plants.hidden(k)
        hidden.check(task.system)
        assert hidden == drawn(task, 3).hidden(k)
        assert all(math.isfinite(value) for value in plants.numbers(k).values())
    assert plants.numbers(0) != drawn(task, 4).numbers(0)
