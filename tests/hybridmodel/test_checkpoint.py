"""Checkpoints: whatever happened to the file, a clear refusal or the very same model."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
import safetensors.torch
import torch

import hybridmodel
import residuals
from hybridmodel import CheckpointError, HybridModel, load, placement, save
from hybridmodel.checkpoint import _digest, describe
from physics import (
    CartPole,
    FromCasadi,
    InputDelay,
    Parameter,
    Pendulum,
    Signal,
    from_casadi,
    integrators,
)
from residuals import MLP, Residual

X, U = torch.tensor([0.3, -0.5]).double(), torch.tensor([0.2]).double()


def model(system=None, residual=None, **keywords) -> HybridModel:
    made = HybridModel(
        Pendulum(mass=1.7) if system is None else system,
        MLP((3,), limit=2.0) if residual is None else residual,
        **{"dt": 0.02, "fit_parameters": ("mass",)} | keywords,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return made


MODEL = model()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(MODEL, tmp_path / "model")
    return tmp_path / "model"


def rewritten(path: Path, change) -> None:
    """The file with another description, whose digest is right: made on purpose."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    description = json.loads(header["__metadata__"]["hybridmodel"])
    tensors = safetensors.torch.load(data)
    change(description)
    description["sha256"] = _digest(description, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"hybridmodel": json.dumps(description)}))


# -- damage ----------------------------------------------------------------------------------


def test_every_truncation_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError):
            load(path)


def refused_or_the_same(path: Path) -> bool:
    try:
        twin = load(path)
    except CheckpointError:
        return True
    assert twin.system == MODEL.system
    assert twin.dt == MODEL.dt
    assert torch.equal(twin(X, U), MODEL(X, U))
    return False


@pytest.mark.parametrize("kind", ["flipped", "replaced", "inserted", "removed", "swapped"])
def test_random_damage_is_refused_or_means_nothing(path: Path, kind: str) -> None:
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        bytes_, at = bytearray(data), int(rng.integers(len(data)))
        match kind:
            case "flipped":
                bytes_[at] ^= 1 << int(rng.integers(8))
            case "replaced":
                bytes_[at] ^= int(rng.integers(1, 256))
            case "inserted":
                bytes_.insert(at, int(rng.integers(256)))
            case "removed":
                del bytes_[at]
            case "swapped":
                other = int(rng.integers(len(data)))
                if data[at] == data[other]:
                    continue
                bytes_[at], bytes_[other] = data[other], data[at]
        path.write_bytes(bytes_)
        refused += refused_or_the_same(path)
    assert refused >= 240  # spaces and the case of escapes mean nothing


def test_every_flipped_bit_of_the_numbers_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for at in range(8 + int.from_bytes(data[:8], "little"), len(data), 5):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="does not match its SHA-256"):
            load(path)


def test_a_changed_description_is_refused(path: Path) -> None:
    data = path.read_bytes()
    assert b'dt\\": 0.02' in data
    path.write_bytes(data.replace(b'dt\\": 0.02', b'dt\\": 0.03'))
    with pytest.raises(CheckpointError, match="does not match its SHA-256"):
        load(path)


def test_foreign_files_are_refused(path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    foreign = {
        "empty": b"",
        "text": b"hello, world" * 9,
        "zeros": bytes(500),
        "ones": b"\xff" * 500,
        "noise": rng.bytes(2000),
        "json": b'{"hybridmodel": {}}',
        "nested": (10**6).to_bytes(8, "little") + b"[" * 10**6,
        "safetensors": safetensors.torch.save({"w": torch.zeros(3)}),
        "metadata": safetensors.torch.save({"w": torch.zeros(3)}, {"hybridmodel": "[]"}),
    }
    for data in foreign.values():
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=str(path)):
            load(path)
    torch.save({"w": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is no hybridmodel checkpoint"):
        load(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("schema", [1, 0, None, "1", 1.5])
def test_another_schema_is_refused(path: Path, schema) -> None:
    rewritten(path, lambda description: description.update(schema=schema))
    with pytest.raises(CheckpointError, match=r"has schema .*, this version reads 3"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("system"),
        lambda d: d.pop("dt"),
        lambda d: d.update(dt=-1.0),
        lambda d: d.update(dt="fast"),
        lambda d: d.update(dtype="save"),
        lambda d: d.update(dtype="int64"),
        lambda d: d.update(placement={"name": "elsewhere", "rows": None}),
        lambda d: d.update(placement=None),
        lambda d: d.update(integrator="magic"),
        lambda d: d.update(features=["colour"]),
        lambda d: d.update(fit_parameters=["colour"]),
        lambda d: d.update(fit_parameters=[]),
        lambda d: d.update(residual=None),
        lambda d: d["residual"].update(**{"class": "Module"}),
        lambda d: d["residual"].update(**{"class": "Residual"}),
        lambda d: d["residual"]["config"].update(hidden=[4]),
        lambda d: d["residual"]["config"].update(hidden="wide"),
        lambda d: d["residual"]["config"].update(shell="rm"),
        lambda d: d["system"].update(**{"class": "System"}),
        lambda d: d["system"].update(**{"class": "os.system"}),
        lambda d: d["system"].update(fields=[1]),
        lambda d: d["system"]["fields"].update(mass={"parameter": [-1.0, "kg", "positive"]}),
        lambda d: d["system"]["fields"].update(states=[]),
        lambda d: d["system"]["fields"].update(colour=1.0),
    ],
)
def test_a_description_that_makes_no_model_is_refused(path: Path, change) -> None:
    rewritten(path, change)
    with pytest.raises(CheckpointError, match=str(path)):
        load(path)


# -- what is kept ----------------------------------------------------------------------------


ONE_JOINT = [p for p in placement.ALL if p is not placement.gyroscopic]


@pytest.mark.parametrize("where", [*ONE_JOINT, placement.derivative.on("rate")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_to_the_bit(tmp_path: Path, where, dtype: torch.dtype) -> None:
    features = ("rate",) if where.sees is None else where.sees(Pendulum())
    made = model(
        placement=where, integrator=integrators.euler, substeps=3, hold=True, features=features
    ).to(dtype)
    save(made, tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.theta.dtype == dtype
    assert torch.equal(twin(X.to(dtype), U.to(dtype)), made(X.to(dtype), U.to(dtype)))
    assert twin.placement == where
    assert twin.parameter_values() == made.parameter_values()


def test_the_same_model_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    save(MODEL, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert describe(path)["dt"] == 0.02


def test_loading_leaves_torchs_generator_alone(path: Path) -> None:
    state = torch.get_rng_state()
    load(path)
    assert torch.equal(torch.get_rng_state(), state)


# -- classes of the user's own ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mine(Pendulum):
    """A user's system."""

    @property
    def outputs(self):
        return self.states


class Doubled(MLP):
    """A user's residual."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(z)


def test_a_users_system_must_be_given(tmp_path: Path) -> None:
    for made, given in (
        (model(Mine(mass=1.7)), Mine()),
        (
            model(InputDelay(system=Mine(mass=1.7), steps=1)),
            InputDelay(system=Mine(), steps=4),
        ),
    ):
        save(made, tmp_path / "mine")
        name = type(given).__name__
        with pytest.raises(CheckpointError, match=rf"'Mine' is not part of .*system={name}\(…\)\)"):
            load(tmp_path / "mine")
        assert load(tmp_path / "mine", system=given).system == made.system
        with pytest.raises(CheckpointError, match=f"holds a model of {name}, got system=CartPole"):
            load(tmp_path / "mine", system=CartPole())


def test_a_users_residual_must_be_given(tmp_path: Path) -> None:
    made = model(residual=Doubled((3,)))
    save(made, tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"'Doubled' is not part of .*residual=Doubled\(…\)"):
        load(tmp_path / "mine")
    twin = load(tmp_path / "mine", residual=Doubled((9, 9), activation="relu"))
    assert torch.equal(twin(X, U), made(X, U))  # its config is the saved one
    with pytest.raises(CheckpointError, match="holds a residual Doubled, got residual=MLP"):
        load(tmp_path / "mine", residual=MLP((3,)))


def test_a_users_module_must_be_given_and_is_copied(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    made = model(residual=module)
    save(made, tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"'Sequential' is not part of .*Sequential\(…\)"):
        load(tmp_path / "mine")
    before = module[0].weight.clone()
    assert torch.equal(load(tmp_path / "mine", residual=module)(X, U), made(X, U))
    assert torch.equal(module[0].weight, before)
    with pytest.raises(CheckpointError, match="does not make a model"):
        load(tmp_path / "mine", residual=torch.nn.Sequential(torch.nn.Linear(4, 1)))
    with pytest.raises(CheckpointError, match="holds a residual Sequential, got residual=Linear"):
        load(tmp_path / "mine", residual=torch.nn.Linear(4, 1))


def test_a_class_with_a_name_of_ours_is_still_the_users(tmp_path: Path) -> None:
    Pendulum_ = type("Pendulum", (Mine,), {})
    save(model(Pendulum_()), tmp_path / "mine")
    with pytest.raises(CheckpointError, match="its system 'Pendulum' is not part of this project"):
        load(tmp_path / "mine")


def test_a_residual_given_where_none_was_saved_is_refused(tmp_path: Path) -> None:
    save(HybridModel(Pendulum(), dt=0.02), tmp_path / "physics")
    with pytest.raises(CheckpointError, match="holds a model without residual, got residual=MLP"):
        load(tmp_path / "physics", residual=MLP())


# -- functions of the user's own ---------------------------------------------------------------


def spring(stiffness: float = 2.0, name: str = "spring", table: bool = False) -> FromCasadi:
    """q̈ = u − k sin q as a casadi.Function, which a table makes MX."""
    x, u, p = (ca.MX.sym(s, n) for s, n in (("x", 2), ("u", 1), ("p", 1)))
    knots = np.linspace(-9.0, 9.0, 7)
    sine = ca.interpolant("sine", "bspline", [knots.tolist()], (stiffness * np.sin(knots)).tolist())
    force = sine(x[0]) if table else stiffness * ca.sin(x[0])
    f = ca.Function(name, [x, u, p], [ca.vertcat(x[1], (u - force) / p)])
    h = ca.Function("h", [x], [x[0]])
    return from_casadi(
        f, states=("q", "v"), parameters={"mass": Parameter(1.5, "kg", "positive")}, output=h
    )


@pytest.mark.parametrize("table", [False, True], ids=["SX", "MX"])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: InputDelay(system=s, steps=1)])
def test_a_system_with_a_function_is_saved_by_its_digest(tmp_path: Path, wrap, table: bool) -> None:
    path, made = tmp_path / "mine", model(wrap(spring(table=table)), placement=placement.derivative)
    save(made, path)
    assert b"serialization" not in path.read_bytes()
    other = spring(table=table).with_parameters(mass=9.0)  # numbers come from the file
    twin = load(path, system=wrap(other))
    assert twin.system == made.system
    x = made.initial_state(X)
    assert torch.equal(twin(x, U), made(x, U))
    assert torch.equal(twin.output(x, U), made.output(x, U))
    with pytest.raises(
        CheckpointError,
        match=r"holds the casadi.Function 'spring', .* pass load\(…, system=…\) with",
    ):
        load(path)
    for wrong in (spring(2.0 + 1e-9, table=table), spring(name="coil", table=table)):
        with pytest.raises(
            CheckpointError, match=r"is not the 'spring' that was saved: .* version of CasADi"
        ):
            load(path, system=wrap(wrong))


def test_a_discrete_model_comes_back(tmp_path: Path) -> None:
    x = ca.SX.sym("x", 2)
    u = ca.SX.sym("u")
    f = ca.Function("f", [x, u], [ca.vertcat(x[1], ca.sin(x[0]) + u)])
    made = model(
        from_casadi(f, dt=0.25), dt=None, fit_parameters=(), placement=placement.next_state
    )
    save(made, tmp_path / "model")
    twin = load(tmp_path / "model", system=from_casadi(f))  # its dt comes from the file
    assert (twin.dt, twin.integrator, twin.system.dt) == (0.25, integrators.discrete, 0.25)
    assert torch.equal(twin(X, U), made(X, U))


# -- saving ----------------------------------------------------------------------------------


def test_what_could_not_be_read_back_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    tilted = placement.Placement("tilted", lambda s: s.states, flow=lambda at, r: -r)

    @dataclass(frozen=True, kw_only=True)
    class Odd(Pendulum):
        tool: object = None

    class Secret(MLP):
        def config(self):
            return {"hidden": {3}, "nz": self.nz, "nr": self.nr}  # JSON holds no sets

    for made, message in (
        (model(placement=tilted), "placement 'tilted' is not this project's"),
        (
            model(integrator=integrators.Integrator("mine", 1, integrators.euler.advance)),
            "integrator 'mine' is not this project's",
        ),
        (model(Odd(tool=object())), "a field of type object cannot be saved"),
        (model(residual=Secret()), "config of Secret is not JSON data: .*set"),
    ):
        with pytest.raises(ValueError, match=message):
            save(made, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model"]


def test_a_failure_while_writing_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save(model(Pendulum(mass=3.0)), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model"]


def test_no_source_reads_or_writes_pickles() -> None:
    roots = [Path(hybridmodel.__file__).parent, Path(residuals.__file__).parent]
    for source in (file for root in roots for file in root.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    assert not {n.name for n in names} & {"pickle", "dill", "joblib"}, source
                case ast.ImportFrom(module=module):
                    assert module not in ("pickle", "dill", "joblib"), source
                case ast.Attribute(value=ast.Name(id="torch"), attr=attr):
                    assert attr not in ("load", "save"), source


def test_signals_and_residuals_are_described_in_full(tmp_path: Path) -> None:
    system = Pendulum(inputs=(Signal("torque", "N·m", -1, 2.5),))
    save(model(system), tmp_path / "model")
    assert load(tmp_path / "model").system == system
    assert isinstance(load(tmp_path / "model").residual, Residual)
