"""The check that users run: it passes where the paths agree and fails where they do not."""

from __future__ import annotations

import casadi as ca
import pytest
import torch

from hybridmodel import HybridModel, check_agreement
from physics import Pendulum
from residuals import MLP


def model() -> HybridModel:
    return HybridModel(Pendulum(), MLP((5,)), dt=0.02, fit_parameters=("mass",))


def test_says_what_it_found() -> None:
    found = check_agreement(model(), points=3)
    assert found.holds
    assert found.points == 3
    assert str(found).startswith("torch and CasADi agree at 3 points: value ")
    assert found == check_agreement(model(), points=3)


class Tampered(HybridModel):
    """A model whose CasADi form is off by a term."""

    def __init__(self, term) -> None:
        super().__init__(Pendulum(), dt=0.02)
        self.term = term

    def step_function(self, **_):
        F = super().step_function()
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


def test_nan_is_no_agreement() -> None:
    found = check_agreement(Tampered(lambda x: ca.sqrt(-1 - x**2)), points=2)
    assert not found.holds


def test_a_single_precision_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model must be float64 .*, it is torch.float32"):
        check_agreement(model().to(torch.float32))
