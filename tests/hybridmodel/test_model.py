"""The model's own promises: order, parameters, shapes, refusals, transforms."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, placement
from physics import CartPole, InputDelay, Linear, Pendulum, Signal, System, integrators
from residuals import MLP

DT = 0.02


@dataclass(frozen=True, kw_only=True)
class Towed(System):
    """A pendulum on a pivot that is pulled sideways."""

    states: tuple[Signal, ...] = (Signal("angle", angle=True), Signal("rate", rate_of="angle"))
    inputs: tuple[Signal, ...] = (Signal("torque"),)
    exogenous: tuple[Signal, ...] = (Signal("pull", "m/s²"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[1], u[0] - 9.81 * ca.sin(x[0]) - d[0] * ca.cos(x[0]))


X, U = torch.tensor([0.3, -0.5]).double(), torch.tensor([0.2]).double()


def trained(**keywords) -> HybridModel:
    model = HybridModel(
        Pendulum(), MLP((6,)), **{"dt": DT, "fit_parameters": ("mass", "gravity")} | keywords
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.mark.parametrize("integrator", integrators.ALL, ids=lambda method: method.name)
def test_the_step_has_the_order_of_its_integrator_with_the_residual_inside(integrator) -> None:
    fine = trained(dt=0.4, substeps=128)

    def error(substeps: int) -> float:
        model = trained(dt=0.4, substeps=substeps, integrator=integrator)
        return float((model(X, U) - fine(X, U)).detach().norm())

    assert math.log2(error(16) / error(32)) == pytest.approx(integrator.order, abs=0.15)


def test_substeps_are_shorter_steps() -> None:
    twice, short = trained(substeps=2), trained(dt=DT / 2)
    assert torch.allclose(twice(X, U), short(short(X, U), U), rtol=1e-14)


def test_a_held_residual_is_of_first_order() -> None:
    fine = trained(dt=0.01)

    def error(dt: float) -> float:
        held = trained(dt=dt, hold=True)
        H = round(0.32 / dt)
        ahead = held.rollout(X, U.expand(H, 1))[-1]
        return float((ahead - fine.rollout(X, U.expand(32, 1))[-1]).detach().norm())

    assert math.log2(error(0.02) / error(0.01)) == pytest.approx(1.0, abs=0.15)


def test_parameters_start_at_their_values_and_may_be_batched() -> None:
    model = HybridModel(Pendulum(mass=1.7), dt=DT, fit_parameters=("gravity", "mass"))
    assert model.parameter_values() == {"gravity": 9.81, "mass": 1.7}
    p = torch.tensor([[9.81, 1.7], [3.0, 0.5]]).double()
    each = [HybridModel(Pendulum(gravity=g, mass=m), dt=DT)(X, U) for g, m in p.tolist()]
    assert torch.allclose(model(X, U, p=p), torch.stack(each), rtol=1e-12)
    ahead = model.rollout(X, U.expand(3, 1), p=p)
    assert ahead.shape == (2, 4, 2)


def test_gradients_reach_weights_parameters_states_and_inputs() -> None:
    model = trained()
    x, u = X.clone().requires_grad_(), U.expand(5, 1).clone().requires_grad_()
    model.rollout(x, u)[-1].sum().backward()
    for tensor in (x, u, *model.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


def test_torch_func_and_compile() -> None:
    model = trained()
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    assert torch.allclose(torch.func.vmap(lambda x: model(x, U))(x), model(x, U), rtol=1e-13)
    A, _ = model.linearize(x, U)
    jacobians = torch.func.vmap(torch.func.jacfwd(lambda x: model(x, U)))(x)
    assert torch.allclose(jacobians, A, rtol=1e-10, atol=1e-12)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x, U), model(x, U), rtol=1e-13)


def test_linearize_broadcasts_and_is_the_jacobian_of_the_step_function() -> None:
    model = trained()
    F = model.step_function()
    x, u = ca.MX.sym("x", 2), ca.MX.sym("u", 1)
    p = model.physical().tolist()
    x_next = F(x, u, p, [])
    jacobian = ca.Function("J", [x, u], [ca.jacobian(x_next, x), ca.jacobian(x_next, u)])
    A, B = model.linearize(X.expand(3, 1, 2), U.expand(2, 1))
    assert (A.shape, B.shape) == ((3, 2, 2, 2), (3, 2, 2, 1))
    for ours, theirs in zip((A[2, 1], B[2, 1]), jacobian(X.numpy(), U.numpy()), strict=True):
        assert np.allclose(ours.detach(), theirs.full(), rtol=1e-10, atol=1e-12)


def test_state_dict_and_pickling_keep_the_model() -> None:
    model = trained()
    twin = HybridModel(Pendulum(), MLP((6,)), dt=DT, fit_parameters=("mass", "gravity"))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(X, U), model(X, U))
    assert torch.equal(pickle.loads(pickle.dumps(model))(X, U), model(X, U))


def test_rebuilt_takes_another_system_and_the_same_weights() -> None:
    model = trained()
    settled = model.rebuilt(model.system.with_parameters(**model.parameter_values()))
    assert settled.theta.tolist() == [0.0, 0.0]
    assert torch.allclose(settled(X, U), model(X, U), rtol=1e-12)
    assert copy.deepcopy(model).theta.tolist() == model.theta.tolist()
    assert not copy.deepcopy(model.eval()).training


def test_functions_name_their_arguments() -> None:
    model = trained()
    assert model.step_function().name_in() == ["x", "u", "p", "d"]
    assert model.step_function(dt="symbolic", weights="parameters").name_in() == [
        "x", "u", "p", "d", "dt", "w",
    ]  # fmt: skip
    assert model.ode_function(weights="parameters").name_in() == ["x", "u", "p", "d", "w"]
    assert model.step_function().name_out() == ["x_next"]
    physics = HybridModel(Pendulum(), dt=DT)
    assert physics.step_function(weights="parameters").name_in() == ["x", "u", "p", "d"]
    assert physics.network_function() is None
    assert physics.weights().shape == (0,)


def test_its_own_dt_is_never_refused() -> None:
    held = trained(hold=True)
    F = held.step_function(dt=DT)
    ahead = F(X.numpy(), U.numpy(), held.physical().tolist(), [])
    assert np.allclose(ahead.full()[:, 0], held(X, U).detach(), rtol=1e-13)


def test_the_path_says_why() -> None:
    path = trained().path
    assert path.name in ("torch", "kernel")
    assert path.reason


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dt": 0.0}, "dt must be a positive number of seconds, got 0.0"),
        ({"dt": math.nan}, "dt must be a positive number of seconds, got nan"),
        ({"dt": "fast"}, "dt must be a positive number of seconds, got 'fast'"),
        ({"substeps": 0}, "substeps must be at least 1, got 0"),
        ({"fit_parameters": ("colour",)}, "Pendulum has no parameter 'colour'; it has"),
        ({"fit_parameters": ("mass", "mass")}, "parameters are named twice"),
        ({"features": ("colour",)}, "features: no signal 'colour'"),
        ({"placement": placement.input.on("x")}, "'input' has no row 'x'; rows are"),
    ],
)
def test_constructor_errors_name_the_argument(keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridModel(Pendulum(), MLP(), **{"dt": DT} | keywords)


def test_a_residual_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"maps 3 features to 1 outputs; .* want 4 → 1"):
        HybridModel(Pendulum(), MLP(nz=3, nr=1), dt=DT)
    with pytest.raises(ValueError, match=r"the module takes no \(2, 4\) input"):
        HybridModel(Pendulum(), torch.nn.Linear(3, 1), dt=DT)
    with pytest.raises(ValueError, match=r"wanted a map \(2, 4\) → \(2, 1\), got shape \(2, 7\)"):
        HybridModel(Pendulum(), torch.nn.Linear(4, 7), dt=DT)


def test_call_errors_name_the_argument() -> None:
    model = trained()
    with pytest.raises(ValueError, match=r"x must have shape \(…, 2\), got \(3,\)"):
        model(torch.zeros(3).double(), U)
    with pytest.raises(ValueError, match=r"u must have shape \(…, 1\), got \(2,\)"):
        model(X, X)
    with pytest.raises(ValueError, match=r"d must have shape \(…, 0\), got \(1,\)"):
        model(X, U, U)
    with pytest.raises(ValueError, match=r"d must be given: Towed needs \['pull'\]"):
        HybridModel(Towed(), dt=DT)(X, U)
    for dt in ("variable", 0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="dt must be a positive number or 'symbolic', got"):
            model.step_function(dt=dt)
    with pytest.raises(ValueError, match="weights must be 'baked' or 'parameters', got 'frozen'"):
        model.step_function(weights="frozen")


@pytest.mark.parametrize("call", ["step_function", "ode_function"])
def test_what_has_no_ode_is_refused_with_the_reason(call: str) -> None:
    models = {
        r"held over a step \(hold=True\)": trained(hold=True),
        "placement 'next_state' acts on the discrete step": trained(placement=placement.next_state),
        "the system has memory": HybridModel(InputDelay(system=CartPole(), steps=1), dt=DT),
    }
    for reason, model in models.items():
        with pytest.raises(ValueError, match=f"{call}.* is refused: .*{reason}.*, so dt belongs"):
            getattr(model, call)(**({"dt": "symbolic"} if call == "step_function" else {}))
    HybridModel(Linear(), dt=DT, hold=True).ode_function()  # nothing is held


# -- discrete systems ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tanks(System):
    """x⁺ of two tanks in a row; `dt` may be a field and is no parameter."""

    drain: float = 0.3
    dt: float = 0.5
    states: tuple[Signal, ...] = (Signal("upper", "m"), Signal("lower", "m", rate_of="upper"))
    inputs: tuple[Signal, ...] = (Signal("pump", "m"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        flow = p.drain * ca.tanh(x)
        return ca.vertcat(x[0] + u[0] - flow[0], x[1] + flow[0] - flow[1])


def poured(x: torch.Tensor, u: torch.Tensor, drain: float = 0.3) -> torch.Tensor:
    flow = drain * torch.tanh(x)
    return x + torch.stack([u[..., 0] - flow[..., 0], flow[..., 0] - flow[..., 1]], -1)


def test_a_discrete_model_is_its_f_exactly() -> None:
    model = HybridModel(Tanks(), fit_parameters=("drain",))
    assert (model.dt, model.integrator, model.substeps) == (0.5, integrators.discrete, 1)
    assert list(Tanks().parameters) == ["drain"]
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    u = torch.randn(4, 1, generator=torch.Generator().manual_seed(1)).double()
    assert torch.allclose(model(x, u), poured(x, u), rtol=1e-15, atol=1e-15)
    there = model.step_function()(x[0].numpy(), u[0].numpy(), [0.3], []).full()[:, 0]
    assert np.allclose(there, poured(x[0], u[0]), rtol=1e-15, atol=1e-15)
    assert HybridModel(Tanks(), dt=0.5 * (1 + 1e-9), integrator=integrators.discrete).dt == 0.5
    assert copy.deepcopy(model).dt == 0.5


def test_a_residual_of_a_discrete_model_enters_the_next_state_or_the_input() -> None:
    x, u = torch.tensor([0.4, 0.1]).double(), torch.tensor([0.2]).double()
    for where, wanted in (
        (placement.next_state.on("lower"), lambda r: poured(x, u) + torch.tensor([0.0, 1.0]) * r),
        (placement.input, lambda r: poured(x, u + r)),
    ):
        model = HybridModel(Tanks(), MLP((4,), seed=2), placement=where)
        assert torch.equal(model(x, u), HybridModel(Tanks())(x, u))
        held = HybridModel(Tanks(), MLP((4,), seed=2), placement=where, hold=True)
        with torch.no_grad():
            for made in (model, held):
                for weight in made.residual.parameters():
                    weight.fill_(0.3)
        r = model.residual(model.residual_features(x, u))
        assert r.abs().max() > 0.01
        assert torch.allclose(model(x, u), wanted(r), rtol=1e-14)
        assert torch.equal(held(x, u), model(x, u))  # one evaluation a step, held or not
    for where in (placement.acceleration, placement.derivative):
        with pytest.raises(
            ValueError, match=rf"{where.name!r} corrects ẋ, .* use placement.next_s"
        ):
            HybridModel(Tanks(), MLP((4,)), placement=where)


def test_a_delay_around_a_discrete_system_is_that_delay() -> None:
    model = HybridModel(InputDelay(system=Tanks(), steps=2))
    u = torch.linspace(0.1, 0.9, 6).double()[:, None]
    x = model.rollout(model.initial_state(torch.zeros(2).double()), u)[:, :2]
    late = torch.cat([torch.zeros(2, 1).double(), u[:-2]])
    assert torch.equal(x, HybridModel(Tanks()).rollout(torch.zeros(2).double(), late))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dt": 0.1}, r"dt: Tanks is discrete, .* every 0.5 s; leave dt out, got 0.1"),
        ({"dt": "fast"}, r"dt: Tanks is discrete, .* got 'fast'"),
        ({"integrator": integrators.rk4}, r"integrator: Tanks is discrete, .* got 'rk4'"),
        ({"substeps": 2}, r"substeps: Tanks is discrete, .* wanted 1, got 2"),
    ],
)
def test_what_a_discrete_system_does_not_have_is_refused(keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridModel(Tanks(), **keywords)


def test_refusals_between_discrete_and_continuous() -> None:
    model = HybridModel(Tanks())
    for call in (model.ode_function, lambda: model.step_function(dt="symbolic")):
        with pytest.raises(ValueError, match=r"is refused: the system is discrete, x⁺ = f"):
            call()
    model.step_function(dt=0.5)  # its own
    with pytest.raises(ValueError, match="dt must be a positive number of seconds, got None"):
        HybridModel(Pendulum())
    with pytest.raises(ValueError, match=r"'discrete' is for systems with a dt .* 'rk4'\]"):
        HybridModel(Pendulum(), dt=DT, integrator=integrators.discrete)
    for dt in (0.0, math.nan, -1.0):
        with pytest.raises(ValueError, match="Tanks: dt must be seconds > 0, got"):
            Tanks(dt=dt)


def test_a_forgotten_argument_is_not_taken_for_zero() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.1, fit_parameters=("mass",))
    F = model.step_function(dt="symbolic", weights="parameters")
    given = {"x": [0.1, 0.2], "u": 0.3, "p": model.physical().tolist(), "dt": 0.1}
    assert np.isnan(F(**given)["x_next"].full()).any()
    whole = F(**given, w=model.weights())["x_next"].full()
    assert np.allclose(
        whole[:, 0], model.step_function()(x=given["x"], u=0.3, p=given["p"])["x_next"].full()[:, 0]
    )


def test_a_rollout_compiles_without_a_graph_break() -> None:
    model = HybridModel(
        CartPole(), MLP((4,)), dt=0.02, placement=placement.input, fit_parameters=("pole_mass",)
    )
    generator = torch.Generator().manual_seed(0)
    x, u = (torch.randn(*n, generator=generator).double() for n in ((3, 4), (3, 2, 1)))
    compiled = torch.compile(model.rollout, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, u), model.rollout(x, u))


def test_a_step_repeats_itself_by_casadis_own_means() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.1)
    F, x0, u = model.step_function(), np.array([0.3, -0.1]), np.linspace(-1, 1, 5)
    states = F.mapaccum(5)(x0, u[None], [], []).full().T
    rolled = model.rollout(torch.from_numpy(x0), torch.from_numpy(u[:, None])).detach()
    assert np.allclose(states, rolled[1:], rtol=1e-13)
