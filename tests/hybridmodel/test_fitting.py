"""Fitting finds what made the data, repeats with its seed and leaves alone what it was given."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import hybridmodel
import residuals
from hybridmodel import Dataset, HybridModel, Trajectory, fit, identify, placement
from hybridmodel.fitting import standardized
from physics import InputDelay, Pendulum, System
from residuals import MLP, Gated

DT = 0.05


def logs(model: HybridModel, count: int = 4, steps: int = 60, seed: int = 0) -> Dataset:
    """Noise-free logs of a model under random inputs held for four steps."""
    rng = np.random.default_rng(seed)
    system, made = model.system, []
    for _ in range(count):
        u = np.repeat(rng.uniform(-2, 2, (steps // 4 + 1, system.nu)), 4, axis=0)[:steps]
        x0 = rng.uniform(-1, 1, len(system.states))
        with torch.no_grad():
            start = model.initial_state(torch.tensor(x0))
            x = model.rollout(start, torch.tensor(u)).numpy()[:, : len(system.states)]
        made.append(Trajectory(t=DT * np.arange(steps + 1), u=u, y=x))
    return Dataset(made)


def truth(system: System | None = None) -> HybridModel:
    system = Pendulum(mass=1.3, damping=0.05) if system is None else system
    return HybridModel(system, dt=DT)


class Pulled(torch.nn.Module):
    """A known hidden term in the acceleration: r = 1.5 sin 2θ − 0.4 v, from z = (s, c, v, u)."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 3 * z[..., :1] * z[..., 1:2] - 0.4 * z[..., 2:3]


def hidden() -> HybridModel:
    model = HybridModel(Pendulum(), Pulled(), dt=DT)
    model.residual.gate.data.fill_(1.0)
    return model


TRAIN, VALIDATION = logs(truth()), logs(truth(), 2, seed=1)
HIDDEN_TRAIN, HIDDEN_VALIDATION = logs(hidden(), 6), logs(hidden(), 2, seed=1)
QUICK = {"horizons": (1, 4), "epochs": 6, "batch_size": 32, "stride": 4}


def both(**keywords) -> HybridModel:
    return HybridModel(
        Pendulum(), MLP((8,)), **{"dt": DT, "fit_parameters": ("mass", "damping")} | keywords
    )


# -- identify --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "system",
    [
        Pendulum(mass=1.3, damping=0.05),
        InputDelay(system=Pendulum(mass=1.3, damping=0.05), steps=2),
    ],
    ids=["plain", "delayed"],
)
def test_identify_recovers_what_made_the_logs(system: System) -> None:
    nominal = system.with_parameters(mass=1.0, damping=0.01)
    model = HybridModel(nominal, dt=DT, fit_parameters=("mass", "damping"))
    train, validation = logs(truth(system)), logs(truth(system), 2, seed=1)
    found = identify(model, train, validation, horizon=10, stride=4, starts=2, prior=0.0)
    assert found.model.parameter_values() == pytest.approx({"mass": 1.3, "damping": 0.05}, rel=1e-3)
    assert found.model.system.parameters["mass"] == found.model.parameter_values()["mass"]
    assert found.validation < 1e-4 < found.physics
    assert len(found.history) == 2


def test_the_prior_keeps_what_the_logs_do_not_tell() -> None:
    # mass, inertia and gain are known from motion up to a common factor
    names = ("mass", "inertia", "motor_gain", "damping")
    model = HybridModel(Pendulum(), dt=DT, fit_parameters=names)
    found = identify(model, TRAIN, VALIDATION, horizon=10, stride=4, starts=2)
    assert found.validation < 1e-2 * found.physics
    values = found.model.parameter_values()
    assert all(0.3 < value / getattr(Pendulum(), name) < 10 for name, value in values.items())


def test_identify_leaves_the_residual_as_it_is() -> None:
    model = hidden().rebuilt()
    model = HybridModel(
        Pendulum(mass=1.4), model.residual, dt=DT, fit_parameters=("mass",)
    )  # fmt: skip
    found = identify(model, HIDDEN_TRAIN, HIDDEN_VALIDATION, horizon=8, stride=8, starts=1)
    assert found.model.parameter_values()["mass"] == pytest.approx(1.0, rel=1e-3)
    assert found.model.residual.gate.item() == 1.0


# -- fit -------------------------------------------------------------------------------------


def test_a_residual_learns_a_known_hidden_term() -> None:
    model = HybridModel(Pendulum(), MLP((16,)), dt=DT)
    found = fit(
        model, HIDDEN_TRAIN, HIDDEN_VALIDATION,
        horizons=(1, 5), epochs=(40, 20), rate=2e-2, batch_size=128, residual_penalty=1e-6,
    )  # fmt: skip
    assert found.validation < 0.1 * found.physics
    x = torch.tensor([[0.5, 0.2], [-0.7, 1.0], [0.2, -0.8]]).double()
    z = found.model.residual_features(x, torch.zeros(3, 1).double())
    learned, wanted = found.model.residual(z), Pulled()(z)
    assert float((learned - wanted).detach().abs().max()) < 0.35 * float(wanted.abs().max())


def test_physics_and_residual_move_together_downhill() -> None:
    found = fit(both(), TRAIN, VALIDATION, **QUICK)
    assert found.validation < 0.5 * found.physics
    assert found.history[-1]["loss"] < found.history[QUICK["epochs"]]["loss"]
    assert found.model.parameter_values() != both().parameter_values()
    assert found.model.theta.tolist() == [0.0, 0.0]
    values = found.model.system.parameters
    assert {name: values[name] for name in ("mass", "damping")} == found.model.parameter_values()


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again = (fit(both(), TRAIN, VALIDATION, seed=3, **QUICK) for _ in range(2))
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in first.history]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in again.history]
    other = fit(both(), TRAIN, VALIDATION, seed=4, **QUICK)
    assert other.validation != first.validation


def test_the_best_epoch_is_what_is_returned() -> None:
    found = fit(both(), TRAIN, VALIDATION, **QUICK | {"rate": 2.0, "patience": 3})  # too fast
    assert found.validation == min(row["validation"] for row in found.history)
    assert found.validation == found.history[-1]["best"] < found.history[-1]["validation"]
    scored = fit(
        found.model, TRAIN, VALIDATION,
        **QUICK | {"epochs": 1, "rate": 1e-12, "parameter_rate": 1e-12},
    )  # fmt: skip
    assert scored.validation == pytest.approx(found.validation, rel=1e-9)


@pytest.mark.parametrize("gated", [False, True])
def test_what_is_given_is_not_touched_and_the_result_keeps_what_it_learned(gated: bool) -> None:
    residual = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    model = HybridModel(Pendulum(), residual if gated else MLP((5,)), dt=DT)
    before = copy.deepcopy(model.state_dict())
    found = fit(model, HIDDEN_TRAIN, HIDDEN_VALIDATION, **QUICK)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert isinstance(found.model.residual, Gated) == gated
    assert found.validation < found.physics
    x, u = torch.tensor([0.5, 0.2]).double(), torch.zeros(1).double()
    assert not torch.equal(found.model(x, u), model(x, u))


def test_a_price_on_the_residual_shrinks_it() -> None:
    sizes = []
    for penalty in (0.0, 1.0):
        found = fit(
            HybridModel(Pendulum(), MLP((8,)), dt=DT), HIDDEN_TRAIN, HIDDEN_VALIDATION,
            residual_penalty=penalty, **QUICK | {"epochs": 12, "patience": 99},
        )  # fmt: skip
        x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
        z = found.model.residual_features(x, torch.zeros(50, 1).double())
        sizes.append(float(found.model.residual(z).detach().abs().mean()))
    assert sizes[1] < 0.8 * sizes[0]


# what takes or gives no energy cannot be the whole of a force that does
ANY_FORCE = [p for p in placement.ALL if p.name not in ("dissipation", "gyroscopic")]


@pytest.mark.parametrize("where", ANY_FORCE, ids=lambda p: p.name)
@pytest.mark.parametrize("hold", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_placement_improves_on_the_physics(where, hold: bool) -> None:
    model = HybridModel(Pendulum(), MLP((8,)), dt=DT, placement=where, hold=hold)
    found = fit(model, HIDDEN_TRAIN, HIDDEN_VALIDATION, **QUICK | {"rate": 2e-2})
    assert found.validation < 0.7 * found.physics


def test_standardized_scales_the_output_to_what_a_step_lacks() -> None:
    model = standardized(HybridModel(Pendulum(), MLP((8,)), dt=DT), HIDDEN_TRAIN)
    scale = float(model.residual.chain[-1].scale)
    x = np.concatenate([log.y[:-1] for log in HIDDEN_TRAIN])
    r = 1.5 * np.sin(2 * x[:, 0]) - 0.4 * x[:, 1]
    assert scale == pytest.approx(np.sqrt(np.mean(r**2)), rel=0.1)


def test_nothing_calls_what_has_other_bits_for_other_addresses() -> None:
    roots = [Path(package.__file__).parent for package in (hybridmodel, residuals)]
    for source in (file for root in roots for file in root.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "torch.linalg.lstsq", source


def test_a_single_precision_model_stays_one() -> None:
    found = fit(both().float(), TRAIN, VALIDATION, **QUICK)
    assert {t.dtype for t in found.model.state_dict().values()} == {torch.float32}
    assert found.validation < found.physics


def test_physics_means_the_model_as_it_came_in() -> None:
    moved = both()
    with torch.no_grad():
        moved.theta.copy_(torch.tensor([1.3, 5.0]).log())
    found = fit(moved, TRAIN, VALIDATION, **QUICK | {"epochs": 1})
    assert found.physics < 1e-6


# -- early ends ------------------------------------------------------------------------------


def interrupt_at(calls: int) -> Callable:
    seen = []

    def progress(row) -> None:
        seen.append(row)
        if len(seen) == calls:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_returns_the_best_so_far() -> None:
    found = fit(both(), TRAIN, VALIDATION, progress=interrupt_at(3), **QUICK)
    assert found.stopped == "interrupted"
    assert len(found.history) == 3
    assert found.validation == min(row["validation"] for row in found.history) < found.physics


def test_ctrl_c_ends_identification_too() -> None:
    model = HybridModel(Pendulum(), dt=DT, fit_parameters=("mass", "damping"))
    found = identify(
        model, TRAIN, VALIDATION, horizon=5, stride=8, starts=4, progress=interrupt_at(2)
    )
    assert found.stopped == "interrupted"
    assert len(found.history) == 2
    assert found.validation < found.physics


def test_progress_sees_every_epoch() -> None:
    rows: list[dict[str, float]] = []
    found = fit(both(), TRAIN, VALIDATION, progress=rows.append, **QUICK)
    assert rows == list(found.history)
    assert [(row["stage"], row["horizon"], row["epoch"]) for row in rows] == [
        (stage, horizon, epoch) for stage, horizon in enumerate((1, 4)) for epoch in range(6)
    ]
    assert found.stopped == "budget"


def test_patience_ends_a_stage() -> None:
    found = fit(both(), TRAIN, VALIDATION, **QUICK | {"rate": 1.0, "patience": 1, "epochs": 30})
    assert found.stopped == "converged"
    assert len(found.history) < 60


def test_a_rollout_that_blows_up_is_survived() -> None:
    wild = both(dt=DT)
    with torch.no_grad():
        wild.theta.copy_(torch.tensor([-30.0, 30.0]))  # a mass of nothing, damped enormously
    found = fit(wild, TRAIN, VALIDATION, **QUICK | {"epochs": 2})
    assert all(torch.isfinite(t).all() for t in found.model.state_dict().values())
    found = identify(wild, TRAIN, VALIDATION, horizon=4, stride=8, starts=2)
    assert all(math.isfinite(v) for v in found.model.parameter_values().values())


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"horizons": ()}, r"horizons must increase from at least 1, got \(\)"),
        ({"horizons": (0, 2)}, r"horizons must increase from at least 1, got \(0, 2\)"),
        ({"horizons": (4, 2)}, r"horizons must increase from at least 1, got \(4, 2\)"),
        ({"horizons": (61,)}, r"horizon 61 does not fit in trajectories\[0\]"),
        ({"epochs": (1, 2, 3)}, r"epochs must be one number or 2, all ≥ 1, got \(1, 2, 3\)"),
        ({"stride": (1, 0)}, "stride must be a whole number of at least 1, got 0"),
        ({"stride": (1.5, 1)}, "stride must be a whole number of at least 1, got 1.5"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size, rate, parameter_rate must be positive"),
        ({"rate": 0.0}, "batch_size, rate, parameter_rate must be positive"),
        ({"rate": math.nan}, "batch_size, rate, parameter_rate must be positive"),
        ({"residual_penalty": -1.0}, "residual_penalty ≥ 0"),
        ({"stride": 0}, "stride must be a whole number of at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"clip": 0.0}, "clip must be positive, got 0.0"),
    ],
)
def test_fit_errors_name_the_argument(keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(both(), TRAIN, VALIDATION, **QUICK | keywords)


@pytest.mark.parametrize("verb", [fit, identify])
def test_there_must_be_something_to_fit(verb) -> None:
    with pytest.raises(ValueError, match=r"nothing to (fit|identify)"):
        verb(HybridModel(Pendulum(), dt=DT), TRAIN, VALIDATION)


@pytest.mark.parametrize("verb", [fit, identify])
def test_data_of_another_plant_are_refused(verb) -> None:
    with pytest.raises(ValueError, match=r"dataset has dt = 0.05 s, the model has 0.1 s"):
        verb(both(dt=0.1), TRAIN, VALIDATION)
    log = TRAIN[0]
    wrong = {
        "2 columns of u, the system has 1": {"u": np.hstack([log.u, log.u])},
        "1 columns of y, the system has 2": {"y": log.y[:, :1]},
        "1 columns of d, the system has 0": {"d": log.u},
        "3 columns of x, the system has 2": {"x": np.hstack([log.y, log.y[:, :1]])},
    }
    for message, change in wrong.items():
        parts = {"t": log.t, "u": log.u, "y": log.y} | change
        other = Dataset([Trajectory(**parts)])
        with pytest.raises(ValueError, match=f"dataset has {message}"):
            verb(both(), other, other)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"starts": 0}, "starts and iterations must be at least 1, got 0, 30"),
        ({"iterations": 0}, "starts and iterations must be at least 1, got 5, 0"),
        ({"horizon": 61}, r"horizon 61 does not fit in trajectories\[0\]"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"prior": -1.0}, "prior and spread must be at least 0, got -1.0"),
        ({"spread": -1.0}, "prior and spread must be at least 0, got .*-1.0"),
    ],
)
def test_identify_errors_name_the_argument(keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        identify(both(), TRAIN, VALIDATION, **keywords)


def test_one_step_alone_is_fitted_to() -> None:
    lone = Dataset([logs(truth(), 1)[0][:1]])
    found = fit(HybridModel(Pendulum(), MLP((4,)), dt=DT), lone, lone, horizons=(1,), epochs=1)
    assert np.isfinite(found.validation)
