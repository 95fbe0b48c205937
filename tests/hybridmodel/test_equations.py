"""The pieces of a model, and what is refused when they are built."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import pytest
import torch

from hybridmodel import HybridModel
from physics import CartPole, InputDelay, Linear, Signal, System
from residuals import MLP


@dataclass(frozen=True, kw_only=True)
class Odd(System):
    """A system whose number of rows, and outputs, can be set wrong."""

    rows: int = 2
    reads: int = 2
    named: bool = False
    states: tuple[Signal, ...] = (Signal("a"), Signal("b"))
    inputs: tuple[Signal, ...] = (Signal("u"),)

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("ya"), Signal("yb")) if self.named else self.states

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.SX.ones(self.rows)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(*([2 * x[0]] * self.reads)) if self.named or self.reads != 2 else x


def test_rows_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"Odd.dynamics must return 2 rows, .* got \(3, 1\)"):
        HybridModel(Odd(rows=3), dt=0.1)
    with pytest.raises(ValueError, match=r"Odd.output must return 2 rows, .* got \(3, 1\)"):
        HybridModel(Odd(reads=3), dt=0.1)
    HybridModel(Odd(named=True), dt=0.1)


def test_an_output_that_is_not_the_state_needs_names_of_its_own() -> None:
    class Scaled(Odd):
        def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
            return 2 * x

    with pytest.raises(ValueError, match=r"Scaled.output is not the state, yet .*give `outputs`"):
        HybridModel(Scaled(), dt=0.1)


def test_features_are_sines_and_cosines_of_angles_in_the_order_given() -> None:
    x = torch.tensor([0.25, 0.5, 2.0, 3.0]).double()
    u = torch.tensor([4.0]).double()
    s, c = torch.sin(x[1]).item(), torch.cos(x[1]).item()
    model = HybridModel(CartPole(), MLP((3,)), dt=0.1)
    assert model.residual_features(x, u).tolist() == [0.25, s, c, 2, 3, 4]
    assert model.residual.nz == 6
    chosen = HybridModel(CartPole(), MLP((3,)), dt=0.1, features=("force", "angle"))
    assert chosen.residual_features(x, u).tolist() == [4, s, c]
    with pytest.raises(ValueError, match=r"features: no signal 'colour'; signals are \['position"):
        HybridModel(CartPole(), MLP((3,)), dt=0.1, features=("colour",))


def test_memory_may_be_a_feature() -> None:
    system = InputDelay(system=CartPole(), steps=2)
    model = HybridModel(system, MLP((3,)), dt=0.1, features=("force_1_ago", "force_2_ago"))
    x = model.initial_state(torch.zeros(4).double(), torch.tensor([[5.0], [6.0]]).double())
    assert model.residual_features(x, torch.zeros(1).double()).tolist() == [6, 5]


def test_initial_state_from_history_is_what_rolling_gives() -> None:
    model = HybridModel(InputDelay(system=CartPole(), steps=3), dt=0.1)
    u = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)).double()
    rolled = model.rollout(torch.zeros(7).double(), u)[-1]
    assert torch.equal(model.initial_state(rolled[:4], u), rolled)
    assert torch.equal(model.initial_state(rolled[:4], u[-3:]), rolled)
    assert torch.equal(model.initial_state(rolled[:4])[4:], torch.zeros(3).double())
    batch = model.initial_state(rolled[:4].expand(2, 6, 4), u.expand(2, 6, 5, 1))
    assert torch.equal(batch, rolled.expand(2, 6, 7))
    with pytest.raises(ValueError, match="past_u must hold 3 inputs, got 2"):
        model.initial_state(rolled[:4], u[:2])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_delayed_input_acts_exactly_that_much_later(steps: int) -> None:
    inner = HybridModel(CartPole(), dt=0.02)
    model = HybridModel(InputDelay(system=CartPole(), steps=steps), dt=0.02)
    u = torch.randn(9, 1, generator=torch.Generator().manual_seed(1)).double()
    x0 = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    late = torch.cat([torch.zeros(steps, 1).double(), u[:-steps]])
    delayed = model.rollout(model.initial_state(x0), u)
    assert torch.equal(delayed[:, :4], inner.rollout(x0, late))


def test_a_delay_of_a_delay_is_refused() -> None:
    once = InputDelay(system=CartPole(), steps=1)
    with pytest.raises(ValueError, match=r"system: InputDelay has memory, .* add up the steps"):
        InputDelay(system=once, steps=2)


def test_an_input_that_comes_late_has_no_effect_before() -> None:
    model = HybridModel(InputDelay(system=Linear(), steps=2), dt=0.1)
    x0 = model.initial_state(torch.zeros(2).double())
    u = torch.zeros(4, 1, dtype=torch.float64, requires_grad=True)
    last = model.rollout(x0, u)[-1, :2].sum()
    (slope,) = torch.autograd.grad(last, u)
    assert (slope[:2].abs() > 0).all()
    assert slope[2:].tolist() == [[0.0], [0.0]]


@dataclass(frozen=True, kw_only=True)
class Lagging(Odd):
    """A system with memory of its own, whose hooks are given what `symbols` says."""

    kind: str = "SX"
    memory: tuple[Signal, ...] = (Signal("lagged"),)
    memory_steps: int = 2
    outputs: tuple[Signal, ...] = (Signal("y"),)  # type: ignore[override]

    @property
    def symbols(self):
        return getattr(ca, self.kind)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(self._known(x)[1], u - ca.sin(x[0]))

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self._known(x)[0] * x[1]

    def applied_input(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        return self._known(m) + u

    def advance_memory(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        return self._known(m) / 2 + u

    def initial_memory(self, past_u: ca.SX) -> ca.SX:
        return self._known(past_u)[0] / 2 + past_u[1]

    def _known(self, value: ca.SX) -> ca.SX:
        assert isinstance(value, self.symbols)
        return value


def test_all_hooks_are_given_the_symbols_that_the_system_wants() -> None:
    scalar, matrix = (HybridModel(Lagging(kind=kind), dt=0.1) for kind in ("SX", "MX"))
    x, u = torch.tensor([0.25, -0.5]).double(), torch.tensor([0.75]).double()
    past = torch.tensor([[0.5], [0.125]]).double()
    start = scalar.initial_state(x, past)
    assert start.tolist() == [0.25, -0.5, 0.375]
    assert torch.equal(matrix.initial_state(x, past), start)
    assert torch.equal(matrix(start, u), scalar(start, u))
    assert torch.equal(matrix.output(start, u), scalar.output(start, u))
    for function in vars(matrix.equations).values():
        assert function.is_a("SXFunction")  # MX only where it must be
