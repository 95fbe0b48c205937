"""Parity of the plants that come with the project, what stays unexplained, what is refused."""

from __future__ import annotations

import dataclasses
from contextlib import closing

import pytest

from hybridmodel import envs
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity import ParityReport, check_parity
from hybridmodel.envs.parity.culprits import SWITCHED
from physics import CartPole, DoublePendulum, Linear, Pendulum, integrators


def agrees(match):
    return match is not None and match.holds and match.accelerations < 1e-6


def changes(found: ParityReport) -> tuple[str, ...]:
    """What the match says to change, where there is one."""
    return () if found.match is None else found.match.changes


@pytest.mark.parametrize("system", [CartPole(), DoublePendulum()], ids=["cartpole", "double"])
def test_plants_as_this_project_sets_them_hold(system):
    with closing(envs.make(system, dt=0.04)) as plant:
        found = check_parity(system, plant, count=200)
    assert found.holds
    assert not found.findings
    assert not found.unexplained
    assert found.accelerations < 1e-9
    assert found.clean < 1e-9
    assert found.match is None


def test_parameters_of_other_systems_are_named():
    with closing(envs.make(Pendulum(mass=1.2, gravity=9.0), dt=0.02)) as plant:
        found = check_parity(Pendulum(), plant, count=50)
    assert set(found.names) == {"mass", "gravity"}
    assert agrees(found.match)


def test_hidden_effects_are_named():
    system = Pendulum()
    hidden = envs.HiddenEffects(viscous=(0.1,))
    with closing(envs.make(system, dt=0.02, hidden=hidden)) as plant:
        found = check_parity(system, plant, count=50)
    assert found.names == ("hidden effects",)
    assert agrees(found.match)


OVER_TIME = {
    "delay": {"input_delay": 2},
    "lag": {"input_lag": 0.1},
    "push": {"push": (0.05, 0.1, (2.0,))},
    "wind": {"wind": 1.0},
}


@pytest.mark.parametrize("effect", OVER_TIME)
@pytest.mark.parametrize("engine", ["pybullet", "mujoco", "ode"])
def test_effects_that_act_over_time_are_named(engine, effect):
    hidden = envs.HiddenEffects(**OVER_TIME[effect])
    with closing(envs.make(Pendulum(), engine=engine, dt=0.02, hidden=hidden)) as plant:
        found = check_parity(Pendulum(), plant, count=10, rollouts=2)
    assert found.names == ("hidden effects",)
    assert found.findings[0].where == "rollouts"
    assert not found.unexplained
    assert not found.holds
    assert agrees(found.match)
    assert "hidden=HiddenEffects()" in changes(found)
    assert "nothing differs" not in str(found)


@pytest.mark.parametrize("engine", ["mujoco", "ode"])
def test_constants_of_other_engines_plants_are_named(engine):
    with closing(envs.make(CartPole(pole_mass=0.3, gravity=9.0), engine=engine, dt=0.02)) as plant:
        found = check_parity(CartPole(), plant, count=20, rollouts=2)
    assert set(found.names) == {"pole_mass", "gravity"}
    assert agrees(found.match)
    assert changes(found) == ("system.with_parameters(pole_mass=0.3, gravity=9.0)",)


def test_an_unknown_difference_is_left_unexplained():
    system = Crooked()
    with closing(envs.OdePlant(CartPole(), dt=0.02)) as plant:
        found = check_parity(system, plant, count=50)
    assert not found.holds
    assert not found.findings
    assert {"position", "angle"} <= {name for name, _ in found.unexplained}
    assert max(size for _, size in found.unexplained) == found.accelerations


def test_what_only_rollouts_show_is_left_unexplained():
    """A plant that steps too coarsely, by an integrator that no culprit is known of."""
    coarse = envs.OdePlant(
        Pendulum(), dt=0.25, substeps=1, integrator=integrators.semi_implicit_euler
    )
    with closing(coarse) as plant:
        found = check_parity(Pendulum(), plant, count=10)
    assert not found.holds
    assert found.accelerations < 1e-12
    assert [name for name, _ in found.unexplained] == ["angle in rollouts"]
    assert "nothing differs" not in str(found)


class Own(CartPole):
    """A System of one's own that says the same."""


class Crooked(CartPole):
    """One with a term that no parameter has."""

    def bias(self, q, v, p):
        return super().bias(q, v, p) + 0.01 * v**3


def test_a_system_of_another_type_is_compared_with_the_plants_own():
    with closing(envs.make(CartPole(), dt=0.02)) as plant:
        assert check_parity(Own(), plant, count=50).holds
        found = check_parity(Crooked(), plant, count=50)
    assert not found.findings
    assert not found.holds
    assert {name for name, _ in found.unexplained} == {"position", "angle"}
    coarse = envs.BulletCartPole(
        CartPole(), dt=0.02, substeps=1, settings=BulletSettings(gravity=0.0)
    )
    with closing(coarse) as plant:
        found = check_parity(Own(), plant, count=50)
    assert set(found.names) == {"gravity", "substeps"}
    assert agrees(found.match)


def test_the_table_has_each_name_once():
    names = [culprit.name for culprit in SWITCHED]
    assert len(set(names)) == len(names)
    known = {field.name for field in dataclasses.fields(BulletSettings)}
    switched = {name for culprit in SWITCHED for name in culprit.settings}
    assert switched == known  # no choice of the engine is left without a culprit


@pytest.mark.parametrize(
    ("system", "options", "told"),
    [
        (DoublePendulum(), {}, "system and environment must have the same states"),
        (Linear(), {}, "system must be a physics.Mechanical"),
        (CartPole(), {"count": 0}, "count must be an integer ≥ 1"),
        (CartPole(), {"rollouts": 0.5}, "rollouts must be an integer ≥ 1"),
        (CartPole(), {"rollout_bar": 0.0}, "rollout_bar must be a finite number > 0"),
    ],
)
def test_bad_arguments_are_refused(system, options, told):
    with closing(envs.make(CartPole(), dt=0.04)) as plant, pytest.raises(ValueError, match=told):
        check_parity(system, plant, **options)
    with pytest.raises(ValueError, match="environment must be an Environment"):
        check_parity(CartPole(), None)  # type: ignore[arg-type]
