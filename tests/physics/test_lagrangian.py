"""Energies give the equations that were derived by hand, and what cannot be one is refused."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import pytest

from hybridmodel.checkpoint import CheckpointError, load, save
from hybridmodel.laws import check_system
from hybridmodel.model import HybridModel
from physics import CartPole, DoublePendulum, Lagrangian, Mechanical, Parameter, Signal, integrators


def constants_of(system: Mechanical) -> tuple[tuple[str, Parameter], ...]:
    return tuple(system.parameters.items())


def cartpole_kinetic(q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
    center = ca.vertcat(q[0] + p.pole_length * ca.sin(q[1]), -p.pole_length * ca.cos(q[1]))
    speed2 = ca.sumsqr(ca.jtimes(center, q, v))
    return (p.cart_mass * v[0] ** 2 + p.pole_mass * speed2 + p.pole_inertia * v[1] ** 2) / 2


def cartpole(**changes: Any) -> Lagrangian:
    hand = CartPole()
    given: dict[str, Any] = {
        "kinetic": cartpole_kinetic,
        "potential": lambda q, p: -p.pole_mass * p.gravity * p.pole_length * ca.cos(q[1]),
        "coordinates": hand.states[:2],
        "inputs": hand.inputs,
        "actuation": lambda q, p: ca.vertcat(p.motor_gain, 0),
        "damping": lambda q, p: ca.vertcat(p.cart_damping, p.pole_damping),
        "constants": constants_of(hand),
    }
    return Lagrangian(**given | changes)


def double_pendulum() -> Lagrangian:
    hand = DoublePendulum()

    def centers(q: ca.SX, p: SimpleNamespace) -> tuple[ca.SX, ca.SX]:
        link1 = ca.vertcat(ca.sin(q[0]), -ca.cos(q[0]))
        link2 = ca.vertcat(ca.sin(q[0] + q[1]), -ca.cos(q[0] + q[1]))
        return p.center1 * link1, p.length1 * link1 + p.center2 * link2

    def kinetic(q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        one, two = (ca.sumsqr(ca.jtimes(center, q, v)) for center in centers(q, p))
        spin = p.inertia1 * v[0] ** 2 + p.inertia2 * (v[0] + v[1]) ** 2
        return (p.mass1 * one + p.mass2 * two + spin) / 2

    def potential(q: ca.SX, p: SimpleNamespace) -> ca.SX:
        one, two = centers(q, p)
        return p.gravity * (p.mass1 * one[1] + p.mass2 * two[1])

    return Lagrangian(
        kinetic=kinetic,
        potential=potential,
        coordinates=hand.states[:2],
        inputs=hand.inputs,
        actuation=lambda q, p: p.motor_gain * ca.SX.eye(2),
        damping=lambda q, p: ca.diag(ca.vertcat(p.damping1, p.damping2)),
        constants=constants_of(hand),
    )


def spherical_pendulum(damping: float | None = None) -> Lagrangian:
    """θ from below, φ around: a mass of 1 kg on a rod of 1 m, without inputs of its own."""
    return Lagrangian(
        kinetic=lambda q, v, p: p.mass * (v[0] ** 2 + (ca.sin(q[0]) * v[1]) ** 2) / 2,
        potential=lambda q, p: -p.mass * 9.81 * ca.cos(q[0]),
        coordinates=(Signal("polar", "rad", angle=True), Signal("azimuth", "rad", angle=True)),
        inputs=(Signal("push", "N·m"), Signal("turn", "N·m")),
        damping=None if damping is None else lambda q, p: damping * ca.SX.ones(2),
        constants=(("mass", Parameter(1.0, "kg", "positive")),),
    )


PAIRS = {"cartpole": (cartpole(), CartPole()), "double": (double_pendulum(), DoublePendulum())}
each_pair = pytest.mark.parametrize("name", PAIRS)


def parts(system: Mechanical, declared: tuple[str, ...]) -> ca.Function:
    q, v, p = (ca.SX.sym(s, n) for s, n in zip("qvp", (2, 2, len(declared)), strict=True))
    u, known = ca.SX.sym("u", system.nu), system.namespace(declared, p)
    terms = [
        system.mass_matrix(q, known),
        system.bias(q, v, known),
        system.input_map(q, known),
        system.dynamics(ca.vertcat(q, v), u, known, ca.SX(0, 1)),
    ]
    return ca.Function("parts", [q, v, u, p], terms)


@each_pair
def test_energies_give_the_equations_derived_by_hand(name: str) -> None:
    energies, hand = PAIRS[name]
    declared = tuple(hand.parameters)
    ours, theirs = parts(energies, declared), parts(hand, declared)
    assert energies.parameters == hand.parameters
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.6, 1.5, len(declared)) * [float(v) for v in hand.parameters.values()]
        point = rng.uniform(-4, 4, 2), rng.uniform(-4, 4, 2), rng.uniform(-2, 2, hand.nu), p
        for found, wanted in zip(ours(*point), theirs(*point), strict=True):
            assert found.full() == pytest.approx(wanted.full(), rel=1e-11, abs=1e-11)
        M = ours(*point)[0].full()
        assert np.array_equal(M, M.T)


@each_pair
def test_it_obeys_the_laws_of_a_system(name: str) -> None:
    report = check_system(PAIRS[name][0])
    assert report.holds, str(report)
    assert not report.notes, str(report)


def test_energy_and_the_momentum_of_what_does_not_matter_are_kept() -> None:
    """Noether: V and T do not know φ, so ∂T/∂φ̇ stays; nothing dissipates, so T + V stays."""
    system = spherical_pendulum()
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 2)
    q, v, p = x[:2], x[2:], system.namespace()
    f = system.dynamics(x, u, p, ca.SX(0, 1))
    kept = ca.vertcat(system.energy(q, v, p), (system.mass_matrix(q, p) @ v)[1])
    rate = ca.Function("rate", [x, u], [ca.jtimes(kept, x, f), f])
    for seed in range(10):
        at = np.random.default_rng(seed).uniform(0.3, 2.8, 4)
        assert rate(at, [0, 0])[0].full()[:, 0] == pytest.approx([0, 0], abs=1e-12)
        power, torque = rate(at, [0.2, 0.5])[0].full()[:, 0]
        assert power == pytest.approx(at[2] * 0.2 + at[3] * 0.5, rel=1e-10)
        assert torque == pytest.approx(0.5, rel=1e-10)


def test_a_conical_pendulum_turns_at_its_speed() -> None:
    cone = 0.6
    x = ca.DM([cone, 0.0, 0.0, np.sqrt(9.81 / np.cos(cone))])  # ω² = g/(l cos θ)
    system = spherical_pendulum()
    state, u = ca.SX.sym("x", 4), ca.SX.sym("u", 2)
    f = ca.Function("f", [state, u], [system.dynamics(state, u, system.namespace(), ca.SX(0, 1))])
    assert f(x, [0, 0]).full()[2:, 0] == pytest.approx([0.0, 0.0], abs=1e-12)
    end = x
    for _ in range(100):
        end = integrators.rk4.advance(lambda x: f(x, [0, 0]), end, 0.01, ca.DM.zeros(4))
    assert float(end[0]) == pytest.approx(cone, abs=1e-9)


def test_damping_takes_its_power() -> None:
    x = ca.SX.sym("x", 4)
    free, damped = spherical_pendulum(), spherical_pendulum(0.3)
    lost = damped.bias(x[:2], x[2:], damped.namespace()) - free.bias(x[:2], x[2:], free.namespace())
    power = ca.Function("power", [x], [ca.dot(x[2:], lost)])
    assert float(power([1, 2, 3, 4])) == pytest.approx(0.3 * (9 + 16), rel=1e-13)


def test_a_part_of_t_that_is_linear_in_v_turns_but_does_no_work() -> None:
    """T = ½ v² + c (x ẏ − y ẋ): the Coriolis force of a turning frame, across the velocity."""
    frame = Lagrangian(
        kinetic=lambda q, v, p: ca.sumsqr(v) / 2 + p.c * (q[0] * v[1] - q[1] * v[0]),
        potential=lambda q, p: 0.0,
        coordinates=(Signal("x", "m"), Signal("y", "m")),
        actuation=lambda q, p: ca.SX(2, 0),
        constants=(("c", Parameter(0.7)),),
    )
    q, v = ca.SX.sym("q", 2), ca.SX.sym("v", 2)
    bias = ca.Function("b", [q, v], [frame.bias(q, v, frame.namespace())])
    found = bias([0.3, 0.2], [2.0, 3.0]).full()[:, 0]
    assert found == pytest.approx([-2 * 0.7 * 3.0, 2 * 0.7 * 2.0], rel=1e-14)
    assert frame.nu == 0


def test_one_coordinate_and_no_constants() -> None:
    spring = Lagrangian(
        kinetic=lambda q, v, p: 0.25 * v**2,
        potential=lambda q, p: 2 * q**2,
        coordinates=[Signal("stretch", "m")],  # type: ignore[arg-type]
        inputs=[Signal("pull", "N")],  # type: ignore[arg-type]
        damping=lambda q, p: 0.3,
    )
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    f = ca.Function("f", [x, u], [spring.dynamics(x, u, spring.namespace(), ca.SX(0, 1))])
    wanted = [3.0, (5.0 - 4 * 2.0 - 0.3 * 3.0) / 0.5]
    assert f([2.0, 3.0], 5.0).full()[:, 0] == pytest.approx(wanted, rel=1e-14)
    assert check_system(spring).holds


# -- data, not functions -------------------------------------------------------------------------


def test_equal_functions_make_equal_systems_that_can_be_sent() -> None:
    one, two = cartpole(), cartpole()
    assert one == two
    assert pickle.loads(pickle.dumps(one)) == one
    assert dataclasses.replace(one, damping=None) != one
    other = cartpole(potential=lambda q, p: p.gravity * ca.cos(q[1]))
    assert other != one
    assert one.with_parameters(gravity=1.62).parameters["gravity"] == 1.62
    assert [s.name for s in one.states[2:]] == ["position_rate", "angle_rate"]
    assert [(s.unit, s.rate_of) for s in one.states[2:]] == [
        ("m/s", "position"),
        ("rad/s", "angle"),
    ]


def test_a_copy_with_other_signals_needs_other_functions() -> None:
    renamed = (Signal("place", "m"), Signal("lean", "rad", angle=True))
    assert dataclasses.replace(cartpole(), coordinates=renamed).states[3].name == "lean_rate"
    with pytest.raises(ValueError, match="potential is made for 2 coordinates and 8 constants, g"):
        dataclasses.replace(
            cartpole(), constants=cartpole().constants[:7], kinetic=lambda q, v, p: ca.sumsqr(v)
        )
    with pytest.raises(ValueError, match=r"actuation gives shape \(2, 1\), wanted \(2, 2\)"):
        dataclasses.replace(cartpole(), inputs=(*CartPole().inputs, Signal("torque", "N·m")))


def test_a_checkpoint_wants_the_same_energies_again(tmp_path: Path) -> None:
    model = HybridModel(cartpole(), dt=0.02)
    save(model, tmp_path / "model")
    assert load(tmp_path / "model", system=cartpole()).system == model.system
    other = cartpole(potential=lambda q, p: p.gravity * ca.cos(q[1]))
    with pytest.raises(CheckpointError, match=r"'potential'.* computes something else"):
        load(tmp_path / "model", system=other)
    with pytest.raises(CheckpointError, match="pass load"):
        load(tmp_path / "model")


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinetic": lambda q, v, p: v}, r"kinetic gives shape \(2, 1\), wanted \(1, 1\)"),
        ({"kinetic": lambda q, v: v[0] ** 2}, "kinetic of .* fails .* TypeError"),
        ({"kinetic": lambda q, v, p: p.weight * v[0] ** 2}, "kinetic .* no attribute 'weight'"),
        ({"kinetic": lambda q, v, p: ca.sumsqr(v) ** 2}, "kinetic must be quadratic in v"),
        ({"kinetic": lambda q, v, p: v[0] ** 2}, "no energy of 'angle'"),
        ({"kinetic": 1.0}, "kinetic must be a function of .*, got 1.0"),
        (
            {"kinetic": lambda q, v, p: ca.SX.sym("m") * v[0] ** 2},
            r"kinetic of .* variables \[m\] are free",
        ),
        ({"potential": lambda q, p: q}, r"potential gives shape \(2, 1\), wanted \(1, 1\)"),
        ({"actuation": lambda q, p: 1.0}, r"actuation gives shape \(1, 1\), wanted \(2, 1\)"),
        ({"actuation": None}, "actuation must be given where 1 inputs drive 2 coordinates"),
        ({"damping": lambda q, p: 0.1}, r"damping gives .*, wanted \(2, 1\) or \(2, 2\)"),
        ({"coordinates": ("place", "lean")}, "must be Signals, got 'place'"),
        ({"coordinates": ()}, "coordinates must name one Signal at least"),
        (
            {"coordinates": tuple(Signal(f"q{i}", quaternion="pose") for i in "wxyz")},
            "'qw' is part of a quaternion",
        ),
        ({"constants": (("mass", 1.0),)}, r"constants must be pairs \(name, Parameter\)"),
        ({"constants": (("m", Parameter(1.0)),) * 2}, "constants: 'm' stands twice"),
    ],
)
def test_errors_name_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cartpole(**changes)


@pytest.mark.parametrize(
    ("kinetic", "told"),
    [
        (lambda q, v, p: -0.5 * ca.sumsqr(v), "not positive definite"),
        (lambda q, v, p: 0.5 * ca.sum1(v) ** 2, "not positive definite"),
    ],
)
def test_no_energy_without_a_mass(kinetic, told: str) -> None:
    coordinates = (Signal("a", "m"), Signal("b", "m"))
    with pytest.raises(ValueError, match=told):
        Lagrangian(
            kinetic=kinetic,
            potential=lambda q, p: 0,
            coordinates=coordinates,
            inputs=(Signal("f"), Signal("g")),
        )
    with pytest.raises(ValueError, match="coordinates must be a tuple"):
        Lagrangian(kinetic=kinetic, potential=lambda q, p: 0, coordinates=Signal("a"))  # type: ignore[arg-type]


def test_the_energy_that_is_kept_has_no_linear_part() -> None:
    """In a frame that turns with Ω, T₂ − T₀ + V is kept and T + V is not."""
    turning = 0.7
    system = Lagrangian(
        kinetic=lambda q, v, p: 0.5 * ca.sumsqr(v + turning * ca.vertcat(-q[1], q[0])),
        potential=lambda q, p: ca.sumsqr(q),
        coordinates=(Signal("a", "m"), Signal("b", "m")),
        inputs=(Signal("f"), Signal("g")),
    )
    x = ca.SX.sym("x", 4)
    kept = system.energy(x[:2], x[2:], system.namespace())
    rate = ca.jtimes(kept, x, system.dynamics(x, ca.SX(2, 1), system.namespace(), ca.SX(0, 1)))
    function = ca.Function("rate", [x], [rate])
    for point in np.random.default_rng(0).standard_normal((5, 4)):
        assert abs(float(function(point))) < 1e-14
