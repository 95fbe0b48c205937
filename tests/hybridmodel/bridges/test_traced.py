"""Modules with a forward of the user's: traced, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks import Case, differences
from hybridmodel import to_casadi
from hybridmodel.bridges.graph import RefusalError
from hybridmodel.bridges.network import lower, pack_weights
from hybridmodel.bridges.traced import is_batched

SEQUENCE = nn.GRU(4, 3).double()
BARS = np.array([1e-12, 1e-10, 1e-8])


class Written(nn.Module):
    """A module whose forward is given."""

    def __init__(self, forward: Callable[[Written, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.written = nn.Linear(4, 4), forward
        self.register_buffer("index", torch.tensor([3, 0, 0]))
        self.register_buffer("scale", torch.rand(4) + 0.5)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.written(self, x)


def in_place(m: Written, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :2] = x[:, 2:]
    y[:, 2:] += m.layer(x)[:, :2] ** 2
    return y.add_(1.0)


def reductions(_: Written, x: Tensor) -> Tensor:
    parts = (x.mean(-1), x.var(-1), x.std(-1), x.prod(-1), x.amax(-1), x.max(-1).values,
             x.min(-1)[0], x.logsumexp(-1), x.norm(dim=-1), x.abs().sum(-1))  # fmt: skip
    return torch.stack(parts, -1)


def elementwise(_: Written, x: Tensor) -> Tensor:
    first = x**2 + x**3 + 2**x + (x * x + 1) ** -1.5 + torch.rsqrt(x * x + 1) + x.clamp(-0.5, 0.5)
    return first + torch.atan2(x, x + 3) + torch.erf(x) + torch.fmod(x, 0.7) + x % 0.7 + x.sign()


FORWARDS: dict[str, Callable[[Written, Tensor], Tensor]] = {
    "elementwise": elementwise,
    "reductions": reductions,
    "in_place": in_place,
    "masks": lambda m, x: torch.where(x > 0, x, 0.1) * (x > -0.5).float() + (~(x > 0)) * x,
    "index": lambda m, x: torch.cat([x[:, m.index], x[:, [1, 2]].flip(-1)], dim=1),
    "products": lambda m, x: (x[:, :, None] * x[:, None, :]).tril().sum(-1) @ m.layer.weight,
    "buffers": lambda m, x: m.scale * x + torch.arange(4) + torch.tensor([0.5, 0.0, 0.0, 1.0]),
    "cumsum": lambda m, x: functional.pad(x.cumsum(-1), (1, 0), value=0.5).roll(1, -1),
    "norms": lambda m, x: functional.group_norm(functional.rms_norm(x, (4,)), 2),
    "windows": lambda m, x: functional.conv1d(
        x.view(-1, 2, 2), m.layer.weight[:, :2].reshape(4, 1, 2), padding=1, stride=2, groups=2
    ).flatten(1),
    "images": lambda m, x: functional.conv2d(
        x.view(-1, 1, 2, 2), m.layer.weight.view(4, 1, 2, 2), m.layer.bias, padding=(1, 0),
        dilation=(1, 1),
    ).flatten(1),
    "pools": lambda m, x: torch.cat([
        functional.avg_pool1d(x.unsqueeze(1), 3, 2, 1), functional.max_pool1d(x.unsqueeze(1), 2),
        functional.max_pool1d(x.unsqueeze(1), 2, 1, 1, 2),
        functional.adaptive_avg_pool1d(x.unsqueeze(1), 2),
        functional.max_pool2d(x.view(-1, 1, 2, 2), 2).flatten(2),
    ], -1).flatten(1),
    "bilinear": lambda m, x: functional.bilinear(
        x[:, :2].contiguous(), x[:, 2:].contiguous(), m.layer.weight.view(4, 2, 2), m.layer.bias
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARDS)
def test_operations_of_a_forward_agree_with_their_derivatives(name: str) -> None:
    assert (differences(Case(0, Written(FORWARDS[name]), (4,))) <= BARS).all()


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Unflatten(1, (2, 2)), nn.Flatten()),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
        nn.Bilinear(2, 2, 3),
    ],
    ids=["batch_norm", "weight_norm", "two_arguments"],
)
def test_modules_of_torch_that_no_table_knows_are_traced(module: nn.Module) -> None:
    sizes = (2, 2) if isinstance(module, nn.Bilinear) else (4,)
    assert (differences(Case(1, module.double().eval(), sizes)) <= BARS).all()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_run_over_a_history(kind: type[nn.Module]) -> None:
    layer = kind(2, 3, batch_first=True)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.view(-1, 2, 2))[0][:, -1]

    assert (differences(Case(2, Last().double().eval(), (4,))) <= BARS).all()


def test_only_the_unknown_part_of_a_sequence_is_traced() -> None:
    inner = Written(lambda m, x: x + m.layer(x))
    graph = lower(nn.Sequential(nn.Linear(3, 4), nn.Sequential(inner), nn.Linear(4, 2)))
    assert graph.traced == ("1.0",)
    assert lower(nn.Sequential(nn.Linear(3, 4), nn.Tanh())).traced == ()
    assert any(t is inner.layer.weight for t in graph.tensors)


def test_new_numbers_in_a_traced_module_need_no_new_function() -> None:
    module = Written(lambda m, x: x + m.scale * m.layer(x))
    loose = to_casadi(module, nz=4, weights="parameters")
    z = np.array([0.3, -0.7, 1.1, 0.2])
    for _ in range(2):
        theirs = module(torch.from_numpy(z)[None])[0].detach()
        assert np.allclose(loose(z, pack_weights(module)).full()[:, 0], theirs, 1e-13, 1e-14)
        with torch.no_grad():
            module.layer.weight.mul_(1.7)
            module.scale.add_(0.1)


def test_a_hook_or_a_forward_of_its_own_is_not_read_from_the_table() -> None:
    z = np.array([0.3, -0.7])
    hooked, replaced = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    hooked.register_forward_hook(lambda m, args, out: 2 * out)
    replaced.forward = lambda x: x * x  # type: ignore[method-assign]

    class Squared(nn.Tanh):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) ** 2

    for module in (hooked, replaced, Squared()):
        theirs = module(torch.from_numpy(z)[None])[0].detach()
        assert np.allclose(to_casadi(module, nz=2)(z).full()[:, 0], theirs, 1e-14)


def test_the_module_is_given_a_batch_or_else_a_vector() -> None:
    assert is_batched(Written(lambda m, x: torch.cat([x, x], dim=1)), ((4,),))
    assert not is_batched(Written(lambda m, x: x.reshape(2, 2).sum(0)), ((4,),))
    vector = to_casadi(Written(lambda m, x: x.reshape(2, 2).sum(0)), nz=4)
    assert vector([1, 2, 3, 4]).full()[:, 0].tolist() == [4, 6]


def straight_through(m: Written, x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


def counting(m: Written, x: Tensor) -> Tensor:
    m.scale.add_(0.0)
    return x * m.scale


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: x if x.isfinite().all() else -x, "cannot trace it: .*data-dependent"),
        (lambda m, x: functional.dropout(x, 0.5), "its value is random in eval mode too"),
        (lambda m, x: torch.floor_divide(x, 0.1) * x, "torch itself has no Jacobian of it"),
        (lambda m, x: (), "forward must return a tensor or a tuple of them"),
        (lambda m, x: x.unflatten(-1, (2, 2)), r"vectors to vectors, .* of shape \(2, 2\)"),
        (lambda m, x: x.sum(-1), r"vectors to vectors, this one gives an array of shape \(\)"),
        (lambda m, x: x.float(), "operation _to_copy rounds to torch.float32"),
        (counting, "forward changes 'scale'; a network must leave its state"),
        (straight_through, "the Jacobian of its CasADi form differs from torch by"),
        (lambda m, x: x @ torch.ones(3, 3), "it maps neither batches row by row"),
        (lambda m, x: x[:, x[0].argsort()], "the rows of a batch"),
        (lambda m, x: x.gather(1, (x > 0).long()), "gather has indices that depend on the arg"),
    ],
    ids=[
        "branch",
        "random",
        "no_slope",
        "nothing",
        "matrix",
        "number",
        "single",
        "state",
        "detached",
        "shape",
        "order",
        "indices",
    ],
)
@pytest.mark.filterwarnings("ignore:.*was assigned during export")
def test_what_has_no_exact_form_is_refused(
    forward: Callable[[Written, Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s)Written.*{reason}"):
        to_casadi(Written(forward), nz=4, weights="parameters")


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: x - x.mean(0),
        lambda m, x: SEQUENCE(x)[0],  # takes the batch for a sequence
        lambda m, x: torch.cumsum(x, 0),
        lambda m, x: torch.cat([x[:1], x[1:] + x[:1]]),
        lambda m, x: x * torch.arange(1, len(x) + 1)[:, None],
        lambda m, x: x / len(x),
        lambda m, x: x.sort(0).values,
        lambda m, x: torch.where(x.sum() > 100, 2 * x, x),
        lambda m, x: torch.where(x.sum() < -100, 2 * x, x),
        lambda m, x: x if x[0, 0] > 0 else -x,
    ],
    ids=["mean", "sequence", "sum", "first", "position", "count", "sort", "above", "below",
         "branch"],
)  # fmt: skip
def test_a_module_whose_rows_influence_one_another_is_refused(
    forward: Callable[[Written, Tensor], Tensor],
) -> None:
    with pytest.raises(RefusalError, match="rows of a batch influence one another"):
        to_casadi(Written(forward), nz=4)


def test_rows_may_overflow_leave_the_domain_or_refuse_large_numbers() -> None:
    def small(m: Written, x: Tensor) -> Tensor:
        if not x.detach().abs().max().item() < 100 and not torch.compiler.is_compiling():
            raise ValueError("too large")
        return x

    assert is_batched(Written(lambda m, x: x.exp() + x.log() + x**9), ((4,),))
    assert is_batched(Written(small), ((4,),))


def test_weights_that_a_module_keeps_are_found_where_they_are_parameters() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.kept = nn.Linear(3, 2), None

        def forward(self, x: Tensor) -> Tensor:
            if self.kept is None:
                self.kept = (2 * self.layer.weight).detach()
            return x @ self.kept.T

    with pytest.raises(RefusalError, match="Cached: it reads its weights from a copy it keeps"):
        to_casadi(Cached(), nz=3, weights="parameters")
    assert to_casadi(Cached(), nz=3).size_out(0) == (2, 1)


def test_a_hook_on_the_gradient_is_refused_wherever_it_is_registered() -> None:
    def doubled(_: nn.Module, *gradients: Any) -> tuple[Tensor, ...]:
        return (2 * gradients[0][0],)

    for where in (nn.Module.register_full_backward_hook, nn.Module.register_full_backward_pre_hook):
        layer = nn.Linear(3, 3)
        where(layer, doubled)
        for module in (layer, nn.Sequential(nn.Tanh(), layer)):
            with pytest.raises(RefusalError, match="the Jacobian of its CasADi form differs"):
                to_casadi(module, nz=3)


def test_a_hook_on_all_modules_is_read() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double()
    z = torch.tensor([0.3, -0.7]).double()
    handle = nn.modules.module.register_module_forward_hook(
        lambda m, args, y: 2 * y if isinstance(m, nn.Linear) else None
    )
    try:
        ours, theirs = to_casadi(module)(z.numpy()).full()[:, 0], module(z).detach()
    finally:
        handle.remove()
    assert np.allclose(ours, theirs, 1e-14)
    assert not np.allclose(ours, module(z).detach(), 1e-2)


def test_remainders_and_floors_are_torchs_where_the_ratio_rounds() -> None:
    def both(_: Written, x: Tensor) -> Tensor:
        a, b = x[..., :1], x[..., 1:]
        floor = torch.div(a, b, rounding_mode="floor")
        trunc = torch.div(a, b, rounding_mode="trunc")
        return torch.cat([torch.remainder(a, b), floor, trunc], dim=-1)

    module = Written(both)
    function = to_casadi(module, nz=2)
    z = ca.MX.sym("z", 2)
    slope = ca.Function("slope", [z], [ca.jacobian(function(z), z)])
    for pair in ((1, 0.1), (-1, 0.1), (1, -0.1), (-1, -0.1), (5.3, -1.7), (-5.3, 1.7), (6, 3),
                 (-6, 3), (0, 2), (0.7, 0.3)):  # fmt: skip
        point = torch.tensor(pair, dtype=torch.float64)
        theirs = torch.autograd.functional.jacobian(module, point)
        assert np.array_equal(function(pair).full()[:, 0], module(point)), pair
        assert np.allclose(slope(pair).full(), theirs, 1e-13), pair
    zero = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert np.array_equal(function([1, 0]).full()[:, 0], module(zero), equal_nan=True)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: torch.round(x, decimals=2), "round has no graph form with decimals=2; nor"),
        (lambda m, x: x.norm(p=3, dim=-1, keepdim=True), "norm has order 3; .*; nor does it come"),
    ],
    ids=["decimals", "order"],
)
def test_what_is_refused_for_its_arguments_is_tried_through_onnx(
    forward: Callable[[Written, Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(RefusalError, match=reason):
        to_casadi(Written(forward), nz=4)


def test_refusals_leave_the_screen_and_the_loggers_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    levels = logging.getLogger("torch").level, logging.getLogger("torch.onnx").level
    for forward in (lambda m, x: torch.lgamma(x), lambda m, x: x if x.isfinite().all() else -x):
        with pytest.raises(RefusalError):
            to_casadi(Written(forward), nz=4)
    assert capfd.readouterr() == ("", "")
    assert levels == (logging.getLogger("torch").level, logging.getLogger("torch.onnx").level)


def test_an_unknown_operation_is_named_with_its_place() -> None:
    inner = Written(lambda m, x: torch.lgamma(m.layer(x)))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = inner

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.part(x)

    with pytest.raises(ValueError, match="lgamma") as refused:
        to_casadi(nn.Sequential(nn.Linear(4, 4), Outer()), weights="parameters")
    message = str(refused.value)
    assert message.startswith("Outer at '1': at 'part', in `")
    assert "operation lgamma has no graph form; through ONNX weights can" in message
    assert len(message) < 200


def test_the_callers_module_is_left_alone() -> None:
    module = Written(lambda m, x: torch.tanh(m.layer(x))).float().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    to_casadi(module, nz=4)
    assert module.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
