"""torch → CasADi: the same numbers and derivatives, baked or with weights as parameters."""

from __future__ import annotations

import time

import casadi as ca
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.networks import worst
from hybridmodel import to_casadi, to_torch
from hybridmodel.bridges.network import pack_weights

ACTIVATIONS: dict[str, nn.Module] = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "leaky_relu": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(dtype=torch.float64),
    "elu": nn.ELU(),
    "steep_elu": nn.ELU(alpha=1.7),
    "selu": nn.SELU(),
    "celu": nn.CELU(2.0),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "early_softplus": nn.Softplus(threshold=2.0),
    "steep_softplus": nn.Softplus(beta=2.0, threshold=0.6),
    "log_sigmoid": nn.LogSigmoid(),
    "softsign": nn.Softsign(),
    "softshrink": nn.Softshrink(2.0),
    "hardshrink": nn.Hardshrink(2.0),
    "tanhshrink": nn.Tanhshrink(),
    "threshold": nn.Threshold(2.0, -0.5),
    "hardtanh": nn.Hardtanh(-30.0, 2.0),
    "hardswish": nn.Hardswish(),
    "identity": nn.Identity(),
}
LAWS = settings(derandomize=True, deadline=None, max_examples=25)


def network(widths: list[int], activations: list[str], seed: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    generator = torch.Generator().manual_seed(seed)
    for n, m, name in zip(widths, widths[1:], activations, strict=False):
        linear = nn.Linear(n, m, bias=seed % 3 > 0).double()
        for weight in linear.parameters():
            weight.data.copy_(torch.randn(weight.shape, generator=generator))
        layers += [linear, ACTIVATIONS[name]]
    return nn.Sequential(*layers)


def derivatives(function: ca.Function) -> ca.Function:
    z = ca.MX.sym("z", function.size1_in(0))
    r = function(z)
    first = ca.jacobian(r, z)
    return ca.Function("d", [z], [r, first, ca.jacobian(ca.vec(first), z)])


@LAWS
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    activations=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=3, max_size=3),
    seed=st.integers(0, 10**6),
)
def test_random_networks_agree_with_their_derivatives(
    widths: list[int], activations: list[str], seed: int
) -> None:
    module = network(widths, activations, seed)
    z = torch.randn(widths[0], generator=torch.Generator().manual_seed(seed)).double()
    value, first, second = (m.full() for m in derivatives(to_casadi(module))(z.numpy()))
    assert np.allclose(module(z).detach(), value[:, 0], 1e-12, 1e-12)
    assert np.allclose(torch.func.jacrev(module)(z).detach(), first, 1e-10, 1e-10)
    hessian = torch.func.hessian(module)(z).detach().numpy()  # (m, n, n)
    ours = hessian.transpose(1, 0, 2).reshape(-1, widths[0])
    assert np.allclose(ours, second, 1e-8, 1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_agree_far_out_and_in_the_kink(name: str) -> None:
    activation = ACTIVATIONS[name]
    function = to_casadi(nn.Sequential(activation), nz=1)
    slope = derivatives(function)
    for z in (
        -800.0,
        -30.0,
        -3.0,
        -2.0,
        -1e-9,
        0.0,
        1e-9,
        0.3,
        2.0,
        3.0,
        6.0,
        19.9,
        20.0,
        20.1,
        800.0,
    ):
        ours = torch.tensor([z], dtype=torch.float64, requires_grad=True)
        value = activation(ours)
        (gradient,) = torch.autograd.grad(value.sum(), ours)
        theirs = [float(m) for m in slope(z)[:2]]
        assert [value.item(), gradient.item()] == pytest.approx(theirs, rel=1e-12, abs=1e-12)
    assert np.isnan(float(function(np.nan)))
    assert torch.isnan(activation(torch.tensor([np.nan], dtype=torch.float64)))


def test_activations_keep_their_digits_where_they_are_small() -> None:
    for name, activation in ACTIVATIONS.items():
        function = to_casadi(nn.Sequential(activation), nz=1)
        for z in (-40.0, -20.0, -5.0, 5.0, 20.0, 40.0):
            theirs = activation(torch.tensor([z]).double()).item()
            assert float(function(z)) == pytest.approx(theirs, rel=1e-13, abs=0.0), (name, z)


def test_the_random_slope_of_rrelu_is_its_mean_in_eval_mode() -> None:
    function = derivatives(to_casadi(nn.RReLU(0.1, 0.4).eval(), nz=1))
    assert [float(m) for m in function(-2.0)] == pytest.approx([-0.5, 0.25, 0.0])
    with pytest.raises(ValueError, match="RReLU: draws random numbers in training mode"):
        to_casadi(nn.RReLU(), nz=1)


def test_the_sigmoid_and_its_slopes_hold_far_out() -> None:
    x = ca.MX.sym("x")
    for module, logarithm in ((nn.Sigmoid(), True), (nn.SiLU(), False)):
        y = to_casadi(module, nz=1)(x)
        second, first = ca.hessian(y, x)
        every = ca.Function("every", [x], [y, first, second, ca.log(y)])
        for z in (-800.0, -40.0, 0.0, 40.0, 800.0):
            e = np.exp(-abs(z))
            s, ds = (1 if z > 0 else e) / (1 + e), e / (1 + e) ** 2  # exact in all digits
            dds = -np.sign(z) * (1 - e) / (1 + e) * ds
            wanted = (s, ds, dds) if logarithm else (z * s, s + z * ds, 2 * ds + z * dds)
            found = [float(m) for m in every(z)]
            assert found[:3] == pytest.approx(wanted, rel=1e-13, abs=1e-300)
            if logarithm and z > -700:
                assert found[3] == pytest.approx(z - np.log1p(np.exp(z)) if z < 0 else np.log(s))


def test_hardsigmoid_is_torchs_but_for_a_slope_that_torch_has_in_single_precision() -> None:
    slope = derivatives(to_casadi(nn.Hardsigmoid(), nz=1))
    for z in (-4.0, -3.0, -1.0, 0.0, 3.0, 5.0):
        value, first, second = (float(m) for m in slope(z))
        assert value == pytest.approx(float(nn.Hardsigmoid()(torch.tensor(z))), abs=1e-7)
        assert first == (1 / 6 if -3 < z < 3 else 0)
        assert second == 0


@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax])
def test_softmax_holds_far_out(kind: type[nn.Module]) -> None:
    module = kind(-1)
    for z in ([1.0, 2.0, -0.5], [900.0, 1.0, -900.0], [2.0, 2.0, 2.0]):
        point = torch.tensor(z).double()
        value, first, _ = (m.full() for m in derivatives(to_casadi(module, nz=3))(z))
        assert np.allclose(value[:, 0], module(point), 1e-13)
        assert np.allclose(first, torch.func.jacrev(module)(point), 1e-13, 1e-15)


@pytest.mark.parametrize("count", [15, pytest.param(50, marks=pytest.mark.slow)])
def test_random_networks_of_all_kinds_agree_with_their_derivatives(count: int) -> None:
    found = worst(count=count, seed=0)
    assert found.count == count
    assert found.value <= 1e-12
    assert found.jacobian <= 1e-10
    assert found.hessian <= 1e-8


def test_cells_take_their_state_and_name_it() -> None:
    gru, lstm = to_casadi(nn.GRUCell(3, 4)), to_casadi(nn.LSTMCell(3, 4), weights="parameters")
    assert (gru.name_in(), gru.name_out()) == (["z", "h"], ["h_next"])
    assert (lstm.name_in(), lstm.name_out()) == (["z", "h", "c", "w"], ["h_next", "c_next"])
    assert [lstm.size1_in(i) for i in range(4)] == [3, 4, 4, 16 * (3 + 4) + 32]


def test_known_layers_cost_no_trace() -> None:
    module = network([6, 64, 64, 2], ["tanh", "tanh", "identity"], 1)
    to_casadi(module)
    start = time.perf_counter()
    for _ in range(10):
        to_casadi(module)
    assert (time.perf_counter() - start) / 10 < 0.05  # 2 ms; a trace costs 300


def test_weights_as_parameters_equal_baked_ones_and_are_exchanged_without_a_rebuild() -> None:
    activations = ["tanh", "silu", "gelu"]
    first, second = (network([3, 5, 4, 2], activations, seed) for seed in (1, 2))
    loose = to_casadi(first, weights="parameters")
    assert (loose.name_in(), loose.name_out()) == (["z", "w"], ["r"])
    z = np.array([0.3, -1.0, 0.7])
    for module in (first, second):
        w = pack_weights(module)
        assert loose.size1_in(1) == len(w)
        assert np.allclose(loose(z, w).full(), to_casadi(module)(z).full(), 1e-14, 1e-15)


def test_the_gradient_in_the_weights_is_torchs() -> None:
    module = network([2, 3, 1], ["tanh", "identity"], 4)
    loose = to_casadi(module, weights="parameters")
    z, w = ca.MX.sym("z", 2), ca.MX.sym("w", loose.size1_in(1))
    gradient = ca.Function("g", [z, w], [ca.gradient(loose(z, w), w)])
    point = torch.tensor([0.3, -1.0]).double()
    module(point).sum().backward()
    ours = torch.cat([p.grad.ravel() for p in module.parameters()])
    assert np.allclose(gradient(point.numpy(), pack_weights(module)).full()[:, 0], ours)


def test_there_and_back_again() -> None:
    module = network([3, 4, 2], ["silu", "tanh"], 3)
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    assert torch.allclose(to_torch(to_casadi(module))(z), module(z), rtol=1e-13)


def test_a_single_precision_network_is_taken_as_it_is() -> None:
    module = network([2, 3, 1], ["tanh", "tanh"], 1).float()
    z = torch.tensor([0.2, 0.4])
    assert float(to_casadi(module)(z.numpy())) == pytest.approx(float(module(z).detach()), rel=1e-5)


def test_the_callers_module_is_left_alone() -> None:
    module = network([2, 3, 1], ["tanh", "tanh"], 1).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    to_casadi(module)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="weights must be 'baked' or 'parameters', got 'frozen'"):
        to_casadi(nn.Linear(2, 2), weights="frozen")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nz must be given: no layer of this network has a size"):
        to_casadi(nn.Tanh())
    with pytest.raises(ValueError, match="Linear: a layer takes 2 features, it is given 3"):
        to_casadi(nn.Linear(2, 2), nz=3)
    with pytest.raises(
        ValueError, match=r"Conv1d at '0': .* expected input\[3, 2, 4\]|Conv1d at '0'"
    ):
        to_casadi(nn.Sequential(nn.Conv1d(2, 1, 1)), nz=4)
    with pytest.raises(
        ValueError, match=r"Dropout at '1': draws random numbers .* call \.eval\(\)"
    ):
        to_casadi(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
