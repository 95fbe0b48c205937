"""The check that users run: it passes where the paths agree and says where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import pytest
import torch
from torch import nn

from hybridmodel import HybridModel, check_agreement
from hybridmodel.paths import PATHS, draw
from physics import InputDelay, Parameter, Pendulum, Signal, System
from residuals import MLP


def model(**options) -> HybridModel:
    made = HybridModel(Pendulum(), MLP((5,)), dt=0.02, fit_parameters=("mass",), **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.residual.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return made


def test_says_what_it_found() -> None:
    found = check_agreement(model(), points=3)
    assert found.holds
    assert found.points == 3
    assert found.finite == 1.0
    lines = str(found).splitlines()
    assert lines[0].startswith("torch and CasADi agree at 3 points: value ")
    assert [line[2:40].strip() for line in lines[2:]] == list(PATHS)
    assert found == check_agreement(model(), points=3)
    for kind in ("value", "jacobian", "hessian"):
        assert getattr(found, kind) == max(getattr(path, kind) for path in found.paths)


def test_paths_are_chosen_by_name() -> None:
    assert [p.path for p in check_agreement(model(), points=1, paths=["step, kernel"]).paths] == [
        "step, kernel"
    ]


def remarks(model: HybridModel) -> dict[str, str]:
    return {path.path: path.remark for path in check_agreement(model, points=1).paths}


def test_a_path_that_a_model_does_not_have_is_named_with_the_reason() -> None:
    assert not any(remarks(model()).values())
    held = remarks(model(hold=True))
    assert "held over a step" in held["step, CasADi with dt as input"]
    assert "held over a step" in held["derivative, torch"]
    bare = remarks(HybridModel(InputDelay(system=Pendulum(), steps=1), dt=0.02))
    assert bare["step, CasADi with weights as input"] == "the model has no network"
    assert "memory" in bare["derivative, torch"]
    assert bare["step, torch"] == bare["output, torch"] == ""


class Tampered(HybridModel):
    """A model whose CasADi form is off by a term."""

    def __init__(self, term) -> None:
        super().__init__(Pendulum(), dt=0.02)
        self.term = term

    def step_function(self, **options):
        F = super().step_function(**options)
        arguments = [ca.MX.sym(F.name_in(i), F.size1_in(i)) for i in range(F.n_in())]
        value = F(*arguments) + self.term(arguments[0])
        return ca.Function("F", arguments, [value])


@pytest.mark.parametrize(
    ("term", "holds"),
    [
        (lambda x: 1e-14 * x, (True, True, True)),
        (lambda x: 1e-9, (False, True, True)),
        (lambda x: 1e-11 * ca.sin(1e3 * x), (False, False, False)),
        (lambda x: 1e-13 * ca.sin(1e4 * x), (True, False, False)),
        (lambda x: 1e-16 * ca.sin(1e5 * x), (True, True, False)),
    ],
)
def test_finds_a_difference_in_value_jacobian_or_hessian(term, holds) -> None:
    found = check_agreement(Tampered(term), points=3)
    bars = (1e-12, 1e-10, 1e-8)
    sizes = (found.value, found.jacobian, found.hessian)
    assert tuple(size <= bar for size, bar in zip(sizes, bars, strict=True)) == holds
    assert found.holds == all(holds)
    assert ("DISAGREE" in str(found)) != found.holds


@pytest.mark.parametrize(
    ("term", "kind", "row", "arguments"),
    [
        (lambda x: ca.vertcat(0, 1e-9), "value", "rate", ()),
        (lambda x: ca.vertcat(1e-13 * ca.sin(1e4 * x[1]), 0), "jacobian", "angle", ("rate",)),
        (
            lambda x: ca.vertcat(0, 1e-16 * ca.sin(1e5 * x[0])),
            "hessian",
            "rate",
            ("angle", "angle"),
        ),
    ],
)
def test_names_row_argument_and_point_of_a_difference(term, kind, row, arguments) -> None:
    found = check_agreement(Tampered(term), points=4)
    paths = {path.path: path for path in found.paths}
    assert paths["step, CasADi with dt as input"].holds, "it has the same term"
    worst = paths["step, torch"].difference
    assert worst is not None
    assert (worst.kind, worst.row, worst.arguments) == (kind, row, arguments)
    assert list(worst.point) == ["angle", "rate", "torque"]
    assert worst.ours != worst.theirs
    assert f"{kind} of {row!r}" in str(found)


def test_nan_on_one_path_is_no_agreement() -> None:
    found = check_agreement(Tampered(lambda x: ca.sqrt(-1 - x**2)), points=2)
    assert not found.holds
    assert found.value == float("inf")


@dataclass(frozen=True, kw_only=True)
class Tank(System):
    """ḣ = u − √h: a level that must not be negative."""

    outlet: float = Parameter(0.5, "", (0.4, 0.6))
    states: tuple[Signal, ...] = (Signal("level", "m"), Signal("other", "m"))
    inputs: tuple[Signal, ...] = (Signal("inflow", "m/s", -3.0, 9.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(u - p.outlet * ca.sqrt(x[0]), ca.sqrt(x[1] - 2))


def test_points_where_the_model_is_not_defined_show_nothing() -> None:
    rarely = (Signal("level", "m", 0.1), Signal("other", "m", -60.0, 3.0))
    found = check_agreement(HybridModel(Tank(states=rarely), dt=0.01), points=8)
    assert found.value == 0
    assert 0 < found.points < 4
    assert found.finite == found.points / 8
    assert not found.holds
    assert "CANNOT BE COMPARED" in str(found)
    assert "bounds of the signals" in str(found)
    bounded = (Signal("level", "m", 0.1), Signal("other", "m", 2.5, 2.6))
    found = check_agreement(HybridModel(Tank(states=bounded), dt=0.01), points=8)
    assert found.finite == 1
    assert found.holds


@pytest.mark.parametrize(
    ("states", "holds"),
    [
        ((Signal("level", "m"), Signal("other", "m", 2.5)), True),  # half of the points
        ((Signal("level", "m", 0.1), Signal("other", "m", -9.0, 3.0)), True),  # one in twelve
        ((Signal("level", "m"), Signal("other", "m", -9e3, 3.0)), False),  # none
    ],
)
def test_points_are_those_where_the_model_is_defined(states, holds: bool) -> None:
    found = check_agreement(HybridModel(Tank(states=states), dt=0.01), points=8)
    assert found.holds == holds, str(found)
    assert found.finite == float(holds)
    assert found.points == 8
    if not holds:
        assert found.value == 0, "NaN on both paths is no difference"
        assert "only 0% of the numbers are finite, at the best of up to 20 points" in str(found)


def test_points_lie_inside_the_bounds_and_parameters_in_their_domain() -> None:
    states = (Signal("level", "m", 0.5), Signal("other", "m", -4.0, -1.0))
    tank = HybridModel(Tank(states=states), dt=0.01, fit_parameters=("outlet",))
    level, other, inflow, outlet = draw(tank, 500, spread=3.0).unbind(-1)
    assert 0.5 < level.min() < 1 < level.max()
    assert -4 < other.min() < -3.9
    assert -1.1 < other.max() < -1
    assert -3 < inflow.min() < -2.9
    assert 8.9 < inflow.max() < 9
    assert 0.4 < outlet.min() < outlet.max() < 0.6
    assert torch.equal(draw(tank, 5, seed=3), draw(tank, 5, seed=3))
    assert not torch.equal(draw(tank, 5, seed=3), draw(tank, 5, seed=4))


class Branching(HybridModel):
    """A model that branches on its values, which torch.func cannot follow."""

    def forward(self, x, u, d=None, *, p=None):
        ahead = super().forward(x, u, d, p=p)
        return ahead if bool((ahead == ahead).all()) else x


def test_a_path_that_fails_is_named_and_hides_no_other() -> None:
    found = check_agreement(Branching(Pendulum(), dt=0.02), points=2)
    failed = [path.path for path in found.paths if path.error]
    assert failed == ["step, torch.func"]
    assert not found.holds
    assert "vmap" in str(found)
    assert all(path.holds for path in found.paths if path.path not in failed)


def test_a_single_precision_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model must be float64 .*, it is torch.float32"):
        check_agreement(model().to(torch.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 0}, "points must be at least 1"),
        ({"spread": 0.0}, "spread must be a positive"),
        ({"paths": ["step, C"]}, "paths must be some of .*step, kernel.*got .'step, C'"),
    ],
)
def test_bad_arguments_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_agreement(model(), **options)


class Recurrent(nn.Module):
    """A cell that makes its own first state, which torch.func.vmap cannot batch."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(4, 3), nn.Linear(3, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(self.cell(z.reshape(-1, 4))).reshape(*z.shape[:-1], 1)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch about its GRU
def test_a_network_that_torch_cannot_map_is_told_and_no_disagreement() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HybridModel(Pendulum(), Recurrent(), dt=0.02)
    found = check_agreement(model, points=2)
    assert found.holds
    assert "torch.func cannot transform the network" in str(found)
