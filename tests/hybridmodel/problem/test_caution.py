"""Laws of what it costs a plan to leave the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    Caution,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    disagreement,
    support,
)
from physics import InputDelay, Pendulum
from residuals import MLP, Ensemble, Residual, Supported

COST = Quadratic(
    Pendulum(), state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 3.0}
)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def model(residual: Residual, system=None) -> HybridModel:
    """With weights that are not zero, and data near rest."""
    found = HybridModel(Pendulum() if system is None else system, residual, dt=0.05)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.residual.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    x, u = 0.4 * drawn(300, found.nx), 0.5 * drawn(300, 1)
    z = found.residual_features(x, u)
    found.residual.standardize(z.mean(0), z.std(0), 2 * torch.ones(1, dtype=torch.float64))
    if isinstance(found.residual, Supported):
        found.residual.cover(z)
    return found


@pytest.fixture(scope="module")
def known() -> HybridModel:
    return model(Supported(Ensemble((8,), count=3)))


@pytest.mark.parametrize("system", [None, InputDelay(system=Pendulum(), steps=2)])
def test_it_is_what_the_measures_say(system) -> None:
    of = model(Supported(Ensemble((8,), count=3)), system)
    caution = Caution(disagreement=3.0, support=7.0)
    x0, u, pi = drawn(200, of.nx), drawn(200, 6, 1), torch.zeros(7, 0, dtype=torch.float64)
    plain, careful = (
        OptimalControlProblem(of, COST, horizon=6, caution=c) for c in (None, caution)
    )
    with torch.no_grad():
        x = of.rollout(x0, u)[:, :-1]
        extra = 3 * disagreement(of, x, u) ** 2 + 7 * (1 - support(of, x, u))
        wanted = plain.objective(x0, u, pi)[0] + extra.sum(-1)
        for found in (careful.objective(x0, u, pi)[0], careful.cost_of(x0, u, pi)[0]):
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    one = careful.evaluate(x0[0].numpy(), u[0].numpy())[0]
    assert one == pytest.approx(float(wanted[0]), rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("planner", [CEM, MultipleShooting, GradientDescent])
def test_plans_of_both_families_stay_with_the_data(known, planner) -> None:
    options = {"iterations": 40} if planner is GradientDescent else {}
    least = []
    for caution in (None, Caution(support=20.0)):
        problem = OptimalControlProblem(known, COST, horizon=15, caution=caution)
        plan = planner(problem, **options).plan(np.zeros(2))
        assert plan.usable
        x, u = torch.tensor(plan.x[:-1]), torch.tensor(plan.u)
        least.append(float(support(known, x, u).min()))
    assert least[0] < 0.2
    assert least[1] > 0.8


def test_new_weights_are_seen_without_a_rebuild(known) -> None:
    problem = OptimalControlProblem(known, COST, horizon=6, caution=Caution(disagreement=1.0))
    x0, u, pi = drawn(200, 2), drawn(200, 6, 1), torch.zeros(7, 0, dtype=torch.float64)
    before = problem.cost_of(x0, u, pi)[0]
    known.residual.output_scale.mul_(0.5)
    after = problem.cost_of(x0, u, pi)[0]
    assert (after > before).all()
    torch.testing.assert_close(after, problem.objective(x0, u, pi)[0], rtol=1e-11, atol=1e-11)


def test_what_is_not_known_is_refused_by_name() -> None:
    certain = model(MLP((4,)))
    for caution, message in (
        (Caution(disagreement=1.0), "disagreement needs a residual that is Probabilistic.*MLP"),
        (Caution(support=1.0), "support needs a residual that is Supported.*MLP"),
    ):
        with pytest.raises(ValueError, match=message):
            OptimalControlProblem(certain, COST, horizon=3, caution=caution)
    with pytest.raises(ValueError, match="support must be a cost of at least 0, got -1"):
        Caution(support=-1)
