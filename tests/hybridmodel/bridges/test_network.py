"""A torch network as a graph of expressions and a vector of numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hybridmodel.bridges.expressions import constant, elementwise, matmul, rearrange, reshape
from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    Graph,
    Input,
    MatMul,
    Node,
    Sum,
    Take,
    Weight,
)
from hybridmodel.bridges.network import lower, pack_weights
from residuals import MLP, Gated, Limit, Rescale, Standardize

ELEMENTWISE = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "leaky_relu": lambda x, a: torch.where(x > 0, x, a * x),
}


def evaluate(graph: Graph, *arguments: Tensor) -> list[Tensor]:
    """The nodes by their documented equations."""
    values: dict[Node, Tensor] = dict(zip(graph.inputs, arguments, strict=True))
    for node in graph.nodes:
        operands = [values[x] for x in node.operands]
        match node:
            case Input():
                continue
            case Weight():
                values[node] = node.tensor.detach().double()
            case Constant():
                values[node] = node.value
            case Elementwise():
                y = ELEMENTWISE[node.name](*operands, *node.arguments)
                values[node] = y.reshape(node.shape)
            case MatMul():
                values[node] = torch.einsum("eik,ejk->eij", *operands)
            case Take():
                values[node] = operands[0].flatten()[torch.from_numpy(node.index)]
            case Concatenate():
                values[node] = torch.cat([x.flatten() for x in operands])
            case Sum():
                values[node] = operands[0].sum(-1)
        assert tuple(values[node].shape) == node.shape
    return [values[y] for y in graph.outputs]


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator))
    return module


def test_nodes_do_what_the_module_does() -> None:
    network = nn.Sequential(
        nn.Linear(3, 4), nn.LeakyReLU(0.3), nn.Identity(), nn.Sequential(nn.ReLU(), nn.Tanh()),
        nn.LayerNorm(4), nn.Linear(4, 2, bias=False), Limit([1.0, 2.0]), nn.RMSNorm(2, 1e-3),
    ).double()  # fmt: skip
    randomized(network)
    x = torch.randn(3, generator=torch.Generator().manual_seed(1)).double()
    assert torch.allclose(evaluate(lower(network), x)[0], network(x), rtol=1e-13)


def test_residuals_are_lowered_with_their_scales() -> None:
    gated = Gated(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), nz=3, nr=2)
    for module in (MLP((5,), limit=2.0).sized(3, 2), gated):
        randomized(module)
        ones = torch.ones(3).double()
        module.standardize(0.3 * ones, 2 * ones, 3 * ones[:2])
        x = torch.randn(3, generator=torch.Generator().manual_seed(1)).double()
        assert torch.allclose(evaluate(lower(module), x)[0], module(x), rtol=1e-13)


@pytest.mark.parametrize(
    "cell", [nn.RNNCell(3, 4), nn.GRUCell(3, 4), nn.LSTMCell(3, 4, bias=False)]
)
def test_cells_map_input_and_state_to_the_next_state(cell: nn.RNNCellBase) -> None:
    cell = cell.double()
    generator = torch.Generator().manual_seed(0)
    graph = lower(cell)
    z, *state = (torch.randn(x.shape, generator=generator).double() for x in graph.inputs)
    wanted = cell(z, tuple(state) if len(state) > 1 else state[0])
    for ours, theirs in zip(
        evaluate(graph, z, *state), wanted if len(state) > 1 else [wanted], strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-13)


def test_stacked_members_are_one_product() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*s, generator=generator).double() for s in ((5, 2, 4), (5, 3, 4)))
    for first, second in ((a, b), (a[:1], b), (a[:1, :1], b), (a, b[:1]), (a[0], b[0])):
        y = matmul(constant(first), constant(second))
        products = [n for n in Graph((), (y,)).nodes if isinstance(n, MatMul)]
        assert len(products) == 1
        assert torch.allclose(evaluate(Graph((), (y,)))[0], first @ second.mT, rtol=1e-13)


def test_movement_of_elements_is_one_node_and_none_where_nothing_moves() -> None:
    x = Input((2, 3))
    turned = rearrange(lambda i: i.T.flip(0), rearrange(lambda i: i.T, x))
    assert isinstance(turned, Take)
    assert turned.operands == (x,)
    assert reshape(reshape(x, 3, 2), 2, 3) is x
    viewed = reshape(x, 6)
    assert isinstance(viewed, Take)
    assert viewed.is_view


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\) do not fit together"):
        elementwise("add", Input((2,)), Input((3,)))
    with pytest.raises(ValueError, match="a layer takes 2 features, it is given 3"):
        lower(nn.Linear(2, 2), 3)


def test_nodes_come_in_an_order_in_which_they_can_be_computed_and_share_tensors() -> None:
    shared = nn.Linear(2, 2)
    graph = lower(nn.Sequential(shared, nn.Tanh(), shared))
    seen: set[Node] = set()
    for node in graph.nodes:
        assert seen.issuperset(node.operands)
        assert node not in seen
        seen.add(node)
    assert [id(t) for t in graph.tensors] == [id(shared.weight), id(shared.bias)]


def test_weights_are_packed_in_order_as_float64_and_shared_ones_once() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1, bias=False))
    packed = pack_weights(network)
    parts = [network[0].weight, network[0].bias, network[2].weight]
    assert packed.dtype == np.float64
    assert np.array_equal(packed, np.concatenate([p.detach().numpy().ravel() for p in parts]))
    assert pack_weights(nn.Sequential()).shape == (0,)
    assert pack_weights(nn.Sequential(network[0], network[0])).shape == (6,)
    assert pack_weights(nn.BatchNorm1d(3)).shape == (12,)  # its counter is no number of it


def test_a_module_that_cannot_be_read_is_named_with_its_place() -> None:
    for module, reason in (
        (nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Dropout(0.2))), "Dropout at '1.0': draws"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))),
            "Linear at '1.0': a",
        ),
        (nn.Sequential(nn.Linear(3, 2), nn.ModuleList()), "ModuleList at '1': it maps neither"),
        (nn.Sequential(nn.Linear(3, 4), nn.Unflatten(-1, (2, 2))), r"Sequential: .* \(2, 2\)"),
        (nn.Sequential(nn.Linear(2, 3), nn.LazyLinear(3)), "LazyLinear at '1': its sizes are open"),
        (nn.LazyLinear(3), "LazyLinear: its sizes are open; call the network once"),
        (nn.Sequential(nn.Linear(2, 3, device="meta")), "Linear at '0': it is on the meta device"),
        (nn.Tanh, "module must be a torch.nn.Module, got Tanh .*; build the module first"),
        ("network", "module must be a torch.nn.Module, got str"),
        (lambda z: z, "module must be a torch.nn.Module, got function"),
    ):
        with pytest.raises(ValueError, match=reason):
            lower(module)  # type: ignore[arg-type]


def test_dropout_is_the_identity_in_eval_mode_and_where_it_drops_nothing() -> None:
    z = torch.ones(3).double()
    for module in (nn.Dropout(0.5).eval(), nn.Dropout(0.0)):
        assert torch.equal(evaluate(lower(module, 3), z)[0], z)


def test_nz_is_read_from_the_first_layer_that_has_a_size() -> None:
    for module, sizes in (
        (nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(3, 2))), [3]),
        (nn.LayerNorm(4), [4]),
        (nn.Sequential(Standardize(2), Rescale(2)), [2]),
        (Gated(nn.Linear(3, 2), nz=3, nr=2), [3]),
        (nn.LSTMCell(2, 5), [2, 5, 5]),
    ):
        assert [x.size for x in lower(module).inputs] == sizes
    with pytest.raises(ValueError, match="nz must be given"):
        lower(nn.Tanh())
    for given in (np.int64(4), (4,), [np.int32(4)]):
        assert [x.size for x in lower(nn.Tanh(), given).inputs] == [4]  # type: ignore[arg-type]
    for wrong in (-1, 0, 4.0, "4", True, (), (4, 0), (4.0,)):
        with pytest.raises(ValueError, match=f"nz must be .*, got {re.escape(repr(wrong))}$"):
            lower(nn.Tanh(), wrong)  # type: ignore[arg-type]


def test_the_table_holds_the_common_layers() -> None:
    layers = (nn.Linear(3, 3), nn.LayerNorm(3), nn.Mish(), MLP((4,)).sized(3, 3), nn.GRUCell(3, 3))
    assert all(lower(layer, None if i > 2 else 3).traced == () for i, layer in enumerate(layers))
