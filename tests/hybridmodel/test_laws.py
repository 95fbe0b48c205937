"""The public laws hold for this project's own parts, and each names what breaks it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel import LawReport, check_residual, check_system
from hybridmodel.derivatives import difference_gaps
from hybridmodel.laws.residual import LAWS as RESIDUAL_LAWS
from hybridmodel.laws.system import LAWS as SYSTEM_LAWS
from physics import (
    CartPole,
    DoublePendulum,
    InputDelay,
    Linear,
    Parameter,
    Pendulum,
    Signal,
    System,
    Trivial,
    from_casadi,
)
from residuals import MLP, Gated


def failed(report: LawReport) -> dict[str, str]:
    return {finding.law: finding.message for finding in report.failures}


def noted(report: LawReport) -> dict[str, str]:
    return {finding.law: finding.message for finding in report.notes}


# -- systems --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "system",
    [
        Pendulum(),
        CartPole(),
        DoublePendulum(),
        DoublePendulum.acrobot(),
        InputDelay(system=CartPole(), steps=2),
        Trivial.like(CartPole()),
        Linear(),
    ],
    ids=lambda system: type(system).__name__,
)
def test_our_own_systems_obey_the_laws(system: System) -> None:
    report = check_system(system, points=4)
    assert report.holds, str(report)
    assert [finding.law for finding in report.findings] == [law.name for law in SYSTEM_LAWS]
    assert set(noted(report)) <= {"units"}
    assert str(report).startswith(f"{type(system).__name__}: all laws hold\n")


@dataclass(frozen=True, kw_only=True)
class Cart(System):
    """p̈ = u / m, the example that each test breaks in one place."""

    mass: float = Parameter(2.0, "kg", "positive")
    states: tuple[Signal, ...] = (
        Signal("position", "m"),
        Signal("speed", "m/s", rate_of="position"),
    )
    inputs: tuple[Signal, ...] = (Signal("force", "N", -3.0, 3.0),)

    def dynamics(self, x: Any, u: Any, p: SimpleNamespace, d: Any) -> Any:
        return ca.vertcat(x[1], u / p.mass)


class Rows(Cart):
    def dynamics(self, x, u, p, d):
        return ca.vertcat(x, x)


class Branching(Cart):
    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / (p.mass if p.mass > 1 else 1.0))


class Spring(Cart):
    """Pulls back as far as the position says, be it an angle or not."""

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], (u - x[0]) / p.mass)


class Itself(Cart):
    """Reads its field where the declared parameter stands."""

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / self.mass)


class Root(Cart):
    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / p.mass - ca.sqrt(x[0]))


class Halved(Cart):
    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1] / 2, u / p.mass)


class Counting(Cart):
    """Other equations each time they are asked for."""

    asked = itertools.count()

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / p.mass + next(self.asked))


class Stubborn(Cart):
    """Takes no other mass than its own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mass", 2.0)
        super().__post_init__()


class Apart(Cart):
    """No two are equal."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True)
class Remarked(Cart):
    """Has a field that no file holds."""

    remarks: Any = dataclasses.field(default_factory=lambda: {"colour": "red"}, hash=False)


class Forgetful(InputDelay):
    """Keeps one input where two are declared."""

    def advance_memory(self, m, u, p):
        return u


class WrongSlope(Cart):
    """Its friction is a Function that comes with a wrong Jacobian."""

    symbols = ca.MX

    def dynamics(self, x, u, p, d):
        v, slope = ca.MX.sym("v"), ca.MX.sym("jac", 1, 1)
        wrong = ca.Function("jac_friction", [v, slope], [ca.MX(3.0)])
        friction = ca.Function(
            "friction", [v], [ca.tanh(v)], {"custom_jacobian": wrong, "never_inline": True}
        )
        return ca.vertcat(x[1], (u - friction(x[1])) / p.mass)


class Off(Parameter):
    """Is another number at ϑ = 0."""

    def constrain(self, theta):
        return super().constrain(theta) + 1e-9


class Loose(Parameter):
    """Knows no bounds."""

    def constrain(self, theta):
        return float(self) + 9 * theta


class Reversed(InputDelay):
    """Takes the past inputs for newest first."""

    def initial_memory(self, past_u):
        return ca.vec(past_u[:, ::-1])


@dataclass(frozen=True, kw_only=True)
class Lagged(Cart):
    """Its input is a first-order lag, which one past input only starts."""

    memory: tuple[Signal, ...] = (Signal("lag", "N"),)
    memory_steps = 1

    def applied_input(self, m, u, p):
        return m

    def advance_memory(self, m, u, p):
        return 0.5 * m + 0.5 * u

    def initial_memory(self, past_u):
        return past_u


class Undefined(Cart):
    """Has no value anywhere."""

    def dynamics(self, x, u, p, d):
        return ca.sqrt(-1 - ca.vertcat(x[1], u / p.mass) ** 2)


class Spun(ca.Callback):
    """v ↦ tanh v in Python, which CasADi differentiates by differences."""

    def __init__(self, method: str) -> None:
        ca.Callback.__init__(self)
        self.construct("spun", {"enable_fd": True, "fd_method": method})

    def eval(self, given):
        return [ca.tanh(given[0])]


class Outside(Cart):
    """Its friction is a callback."""

    symbols = ca.MX
    method = "central"

    def dynamics(self, x, u, p, d):
        friction = Spun(self.method)
        KEPT.append(friction)
        return ca.vertcat(x[1], u / p.mass - friction(x[1]))


KEPT: list[Spun] = []  # a callback lives as long as Python holds it


def turned(unit: str) -> tuple[Signal, ...]:
    rate = Signal("rate", f"{unit}/s", rate_of="angle")
    return (Signal("angle", unit, angle=True), rate)


@pytest.mark.parametrize(
    ("system", "law", "message"),
    [
        (Rows(), "builds", r"dynamics must return 2 rows"),
        (Branching(), "builds", r"builds with no parameter declared"),
        (Cart(states=turned("deg")), "signals", r"'angle' has unit 'deg', wanted 'rad'"),
        (Spring(states=turned("rad")), "turns", r"a full turn of 'angle' changes f"),
        (Itself(), "effects", r"mass: no effect .* must use p\.mass"),
        (Root(), "finite", r"derivative of 'speed' is nan at position = -"),
        (Halved(), "kinematics", r"the derivative of 'position' is not 'speed'"),
        (Counting(), "repeats", r"two builds give different numbers"),
        (Stubborn(), "replacing", r"with_parameters\(mass=4\) gives"),
        (Apart(), "copies", r"copy\.deepcopy gives a system that is not equal"),
        (Cart(mass=Off(2.0)), "nominal", r"mass is 2\.000000001 at ϑ = 0"),
        (Cart(mass=Loose(2.0, "kg", "positive")), "domains", r"mass = -25\.0 leaves its domain"),
        (Remarked(), "checkpoint", r"a field of type dict cannot be saved"),
        (Forgetful(system=Cart(), steps=2), "memory", r"advance_memory: 3 rows, wanted 4"),
        (WrongSlope(), "derivatives", r"derivative of 'speed' by 'speed' at position"),
        (Reversed(system=Cart(), steps=2), "memory", r"'force_2_ago' is .* oldest first"),
        (Pendulum(mass=Parameter(1.0)), None, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, System) else "",
)
def test_what_breaks_a_law_is_named(system: System, law: str | None, message: str) -> None:
    report = check_system(system, points=6)
    found = failed(report)
    assert len(report.findings) == len(SYSTEM_LAWS), "one failure stops no other law"
    assert report.holds == (law is None), str(report)
    if law is not None:
        assert re.search(message, found.get(law, "")), str(report)
        assert "laws FAIL\n" in str(report)
        assert found[law] in str(report)


def test_what_cannot_be_built_is_told_once() -> None:
    report = check_system(Rows())
    assert set(failed(report)) == {"builds"}
    assert report.findings[-1].outcome == "not checked"
    assert "see the law 'builds'" in report.findings[-1].message
    assert {f.outcome for f in report.findings if f.law in ("signals", "units")} == {"holds"}


class Cornering(Cart):
    """Divides by its speed, and has a smoothing width that no fit is meant to move."""

    width: float = 0.1

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / p.mass * ca.tanh(x[0] / x[1]))


@dataclass(frozen=True, kw_only=True)
class Smoothed(Cart):
    """Has a smoothing width that no fit is meant to move."""

    width: float = 0.1

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], u / p.mass - ca.tanh(x[1] / self.width))


def test_what_is_worth_knowing_is_no_failure() -> None:
    report = check_system(Cornering(), points=3)
    assert report.holds
    assert "not finite at position = 0" in noted(report)["rest"]
    report = check_system(Smoothed(inputs=(Signal("force"),)), points=3)
    assert report.holds
    assert noted(report) == {
        "units": "without a unit: force",
        "constants": "cannot be fitted, p.width is not used: width",
    }

    class Local(Cart):
        """No other process can find this class."""

    report = check_system(Local(), points=3)
    assert report.holds
    assert "Local" in noted(report)["pickles"]


def outcomes(system: System) -> dict[str, tuple[str, str]]:
    report = check_system(system, points=3)
    return {finding.law: (finding.outcome, finding.message) for finding in report.findings}


def test_a_law_holds_only_where_something_was_measured() -> None:
    x = ca.SX.sym("x", 2)
    f = ca.Function("f", [x], [ca.vertcat(x[0] + 0.1 * x[1], 0.9 * x[1])])
    states = (Signal("q", "m"), Signal("v", "m/s", rate_of="q"))
    found = outcomes(from_casadi(f, states=states, dt=0.1))
    assert found["kinematics"][0] == "not checked"
    assert "a discrete system gives x⁺" in found["kinematics"][1]
    assert found["turns"] == ("not checked", "no state is an angle (angle=True)")
    found = outcomes(Linear())
    assert "no state is declared the rate of another" in found["kinematics"][1]
    found = outcomes(Undefined())
    assert found["finite"][0] == "fails"
    assert found["derivatives"] == (
        "not checked",
        "no value of derivative is finite, see the law 'finite'",
    )
    assert found["batch"] == ("not checked", "no number is finite, see the law 'finite'")
    found = outcomes(Pendulum())
    assert {found[law][0] for law in ("turns", "kinematics", "derivatives")} == {"holds"}


def test_memory_that_no_inputs_give_wholly_need_not_be_continued() -> None:
    report = check_system(Lagged(), points=2)
    assert report.holds, str(report)


def test_a_rate_of_what_is_no_state_is_worth_knowing() -> None:
    speed = (Signal("speed", "m/s", rate_of="position"),)
    report = check_system(Linear(A=((-0.5,),), B=((2.0,),), states=speed), points=2)
    assert report.holds
    assert "'speed' is the rate of 'position', which is no state" in noted(report)["rates"]


@pytest.mark.parametrize("method", ["central", "smoothing"])
def test_slopes_by_differences_are_told_and_held_to_what_they_can(method: str) -> None:
    class Here(Outside):
        pass

    Here.method = method
    report = check_system(Here(), points=2)
    assert "agreement" not in failed(report), str(report)
    assert "CasADi takes finite differences (spun)" in noted(report)["exact"]
    assert "exact" not in noted(check_system(Pendulum(), points=2))


def test_points_are_drawn_inside_the_bounds() -> None:
    bounded = (Signal("position", "m", 0.5, 2.0), Cart().states[1])
    assert "finite" in failed(check_system(Root()))
    assert check_system(Root(states=bounded)).holds


def test_a_report_is_the_same_each_time() -> None:
    assert check_system(CartPole(), points=2) == check_system(CartPole(), points=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system": CartPole}, r"system must be a physics\.System, got ABCMeta"),
        ({"system": CartPole(), "points": 0}, r"points must be at least 1, got 0"),
    ],
)
def test_bad_arguments_of_check_system_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_system(**arguments)


# -- residuals ------------------------------------------------------------------------------------


def sequence(*layers: nn.Module) -> nn.Sequential:
    """With the same random weights each time."""
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(*layers)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return made


@pytest.mark.parametrize(
    "module",
    [
        MLP((6, 5)),
        MLP((6,), nz=3, nr=2),
        MLP((4,), activation="relu", limit=0.5),
        MLP(()),
        sequence(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2)),
        Gated(sequence(nn.Linear(3, 2)), nz=3, nr=2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_our_own_residuals_obey_the_laws(module: nn.Module) -> None:
    report = check_residual(module, nz=3, nr=2, points=4)
    assert report.holds, str(report)
    assert [finding.law for finding in report.findings] == [law.name for law in RESIDUAL_LAWS]
    assert not report.notes


class Biased(MLP):
    def forward(self, z):
        return super().forward(z) + 1e-9


class Shifted(MLP):
    """Subtracts a mean of its outputs, which data brings."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("shift", torch.zeros(1, dtype=torch.float64))

    def standardize(self, mean, scale, output_scale):
        super().standardize(mean, scale, output_scale)
        self.shift.copy_(mean[:1])

    def forward(self, z):
        return super().forward(z) - self.shift


class Centred(nn.Module):
    """Subtracts the mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = sequence(nn.Linear(3, 2))

    def forward(self, z):
        return self.linear(z - (z.mean(0, keepdim=True) if z.dim() > 1 else 0))


class Global(MLP):
    """Draws its weights from torch's global generator."""

    def sized(self, nz, nr):
        made = super().sized(nz, nr)
        nn.init.normal_(made.chain[1].weight)
        return made


class Double(nn.Module):
    """Computes in float64 whatever comes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = sequence(nn.Linear(3, 2))

    def forward(self, z):
        return self.linear(z).double()


class Stopped(nn.Module):
    """Hides a part of its slope from the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = sequence(nn.Linear(3, 2))

    def forward(self, z):
        return self.linear(z) * (1 + z[..., :1].detach())


class Forgets(MLP):
    """Says nothing of its hidden layers."""

    def sized(self, nz, nr):
        return type(self)(self.hidden, nz=nz, nr=nr)

    def config(self):
        return {k: v for k, v in super().config().items() if k != "hidden"}


class Unwritable(Forgets):
    """Says it in a way that no file holds."""

    def config(self):
        return super().config() | {"hidden": torch.tensor(self.hidden)}


class Anew(MLP):
    """Loses its weights when it is sized."""

    def sized(self, nz, nr):
        return type(self)(**(self.config() | {"nz": nz, "nr": nr}))


class Careless(MLP):
    """Leaves traces in the recipe."""

    def sized(self, nz, nr):
        self.train(not self.training)
        return super().sized(nz, nr)


def dead() -> nn.Module:
    made = sequence(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    nn.init.zeros_(made[2].weight)
    nn.init.zeros_(made[2].bias)
    return made


@pytest.mark.parametrize(
    ("module", "law", "message"),
    [
        (nn.Linear(4, 2), "builds", r"takes no \(2, 3\) input"),
        (sequence(nn.Linear(3, 2), nn.BatchNorm1d(2)), "shapes", r"RuntimeError|ValueError"),
        (Centred(), "batch", r"a row of r changes with the other rows"),
        (Biased((4,)), "zero", r"the largest \|r\| before training is 1e-09"),
        (Shifted((4,)), "scaled zero", r"before training after standardize is 0\."),
        (dead(), "trains", r"no gradient reaches any of gate, module\.0\.weight, "),
        (Double(), "precision", r"weights and z in torch\.float32 give r in torch\.float64"),
        (Global((4,)), "repeats", r"draws from torch's global generator"),
        (sequence(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)), "modes", r"give different r"),
        (Stopped(), "derivatives", r"r\[\d\] by z\[0\] at z = "),
        (Forgets((4,)), "config", r"Forgets\(\*\*config\) has other weights"),
        (Unwritable((4,)), "config", r"TypeError: Object of type Tensor is not JSON"),
        (Anew((4,)), "copies", r"sized\(\) of a sized module loses its weights"),
        (Careless((4,)), "untouched", r"training of the module that was passed in has changed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_breaks_a_law_of_residuals_is_named(module: nn.Module, law: str, message: str) -> None:
    report = check_residual(module, nz=3, nr=2, points=3)
    assert len(report.findings) == len(RESIDUAL_LAWS), "one failure stops no other law"
    assert not report.holds
    assert re.search(message, failed(report).get(law, "")), str(report)


class Sorted(nn.Module):
    """Has no CasADi form."""

    def forward(self, z):
        return z.sort(-1).values[..., :2]


def test_without_a_casadi_form_the_bridge_is_named_and_the_rest_is_checked() -> None:
    report = check_residual(Sorted(), nz=3, nr=2, points=3)
    outcomes = {finding.law: finding.outcome for finding in report.findings}
    assert "Sorted" in failed(report)["bridge"]
    assert {outcomes[law] for law in ("agreement", "weights", "there and back")} == {"not checked"}
    assert {outcomes[law] for law in ("zero", "trains", "derivatives", "batch")} == {"holds"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": MLP}, r"module must be an nn\.Module, got ABCMeta"),
        ({"module": MLP()}, r"nz must be given: MLP has none of its own"),
        ({"module": nn.Linear(3, 2), "nz": 3}, r"nr must be given: Linear has none"),
        ({"module": MLP(), "nz": 0, "nr": 1}, r"nz must be at least 1, got 0"),
        ({"module": MLP(nz=1, nr=1), "points": 0}, r"points must be at least 1, got 0"),
    ],
)
def test_bad_arguments_of_check_residual_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_residual(**arguments)


# -- differences ----------------------------------------------------------------------------------


def test_differences_tell_a_right_slope_from_a_wrong_one() -> None:
    def call(v: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(50 * v[:, 0]) * v[:, 1], 1e6 * v[:, 1] ** 3], 1)

    v = np.array([0.3, 2e-4])
    right = np.array(
        [[50 * np.cos(15.0) * 2e-4, np.sin(15.0)], [0.0, 3e6 * (2e-4) ** 2]], dtype=float
    )
    assert difference_gaps(call, right, v).max() < 1e-9
    wrong = right.copy()
    wrong[0, 0] *= 1.01
    gaps = difference_gaps(call, wrong, v)
    assert gaps[0, 0] > 1e-6
    assert gaps[1].max() < 1e-9
    assert difference_gaps(call, np.full((2, 2), np.nan), v).min() == np.inf
