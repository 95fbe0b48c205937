"""The four rows of a comparison: one law between them, the same ingredients in each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import Dataset, HybridModel, Trajectory, placement
from hybridmodel.baselines import (
    ROWS,
    Recipe,
    hybrid_row,
    identified_row,
    network_row,
    physics_row,
)
from physics import CartPole, InputDelay, Pendulum, System, Trivial

DT = 0.05
RECIPE = Recipe(
    fit_parameters=("mass",), hidden=(6,), horizons=(1, 4), epochs=(6, 4), sweep=(5e-3, 2e-2),
    stride=4, starts=2,
)  # fmt: skip


class Pulled(torch.nn.Module):
    """A hidden term in the acceleration."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 3 * z[..., :1] * z[..., 1:2]


def logs(system: System, count: int, seed: int) -> Dataset:
    model = HybridModel(system, Pulled(), dt=DT, placement=placement.acceleration.on("rate"))
    model.residual.gate.data.fill_(1.0)
    rng, made, n = np.random.default_rng(seed), [], len(system.states)
    for _ in range(count):
        u = rng.uniform(-2, 2, (60, 1))
        with torch.no_grad():
            x0 = model.initial_state(torch.tensor(rng.uniform(-1, 1, n)))
            x = model.rollout(x0, torch.tensor(u)).numpy()[:, :n]
        made.append(Trajectory(t=DT * np.arange(61), u=u, y=x))
    return Dataset(made)


TRAIN, VALIDATION = logs(Pendulum(mass=1.3), 4, 0), logs(Pendulum(mass=1.3), 2, 1)


def test_the_rows_come_in_their_order_from_worst_to_best_where_physics_lacks_a_term() -> None:
    assert ROWS == ("physics", "identified", "network", "hybrid")
    identified = identified_row(Pendulum(), TRAIN, VALIDATION, RECIPE)
    hybrid = hybrid_row(identified.model, TRAIN, VALIDATION, RECIPE)
    assert hybrid.validation < identified.validation < identified.physics
    # the hybrid starts where identification ended, only scored over more windows
    assert hybrid.physics == pytest.approx(identified.validation, rel=0.5)


def test_the_network_has_the_hybrids_width_features_and_data_but_no_physics() -> None:
    hybrid = hybrid_row(physics_row(Pendulum(), DT, RECIPE), TRAIN, VALIDATION, RECIPE)
    network, sweep = network_row(Pendulum(), TRAIN, VALIDATION, RECIPE)
    assert isinstance(network.model.system, Trivial)
    assert network.model.residual.hidden == hybrid.model.residual.hidden == RECIPE.hidden
    assert network.model.features == hybrid.model.features
    assert len(network.history) == len(hybrid.history) == sum(RECIPE.epochs)
    assert tuple(sweep) == RECIPE.sweep
    assert network.validation == min(sweep.values())


def test_physics_is_the_nominal_system() -> None:
    model = physics_row(Pendulum(), DT, RECIPE)
    assert model.residual is None
    assert model.system == Pendulum()


def test_a_delayed_system_has_all_rows() -> None:
    system = InputDelay(system=CartPole(), steps=1)
    train, validation = logs(system, 3, 0), logs(system, 2, 1)
    recipe = Recipe(
        fit_parameters=("cart_mass",), hidden=(4,), horizons=(1,), epochs=(2,), sweep=(5e-3,),
        stride=8, starts=1,
    )  # fmt: skip
    identified = identified_row(system, train, validation, recipe)
    hybrid = hybrid_row(identified.model, train, validation, recipe)
    network, _ = network_row(system, train, validation, recipe)
    for found in (identified, hybrid, network):
        assert np.isfinite(found.validation)
