"""MX graphs, lookup tables and Functions without a graph in torch."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from benchmarks.functions import MATRICES, SCALARS, SIZE, differences, draw
from hybridmodel import to_torch
from hybridmodel.bridges.casadi_to_torch import TorchFunction
from hybridmodel.bridges.lookup_tables import table_of
from hybridmodel.bridges.operations import NAME

BARS = (1e-12, 1e-10, 1e-8)


def single(name: str) -> ca.Function:
    x, A = ca.MX.sym("x", SIZE), ca.MX.sym("A", SIZE, SIZE)
    return ca.Function(name, [x, A], [MATRICES[name](x, A)], ["x", "A"], ["y"])


def points(*batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*batch, SIZE, generator=generator, dtype=torch.float64),
        torch.randn(*batch, SIZE, SIZE, generator=generator, dtype=torch.float64),
    )


# -- agreement ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_random_functions_agree_in_value_jacobian_and_hessian(count: int) -> None:
    opcodes: set[str] = set()
    for drawn in draw(count):
        worst = differences(drawn.function, points=1)
        assert (worst <= BARS).all(), (drawn.name, drawn.operations, worst)
        f = drawn.function
        opcodes |= {NAME[f.instruction_id(k)] for k in range(f.n_instructions())}
    assert opcodes >= {*SCALARS}


@pytest.mark.parametrize("name", MATRICES)
def test_an_operation_agrees_in_matrix_form(name: str) -> None:
    module = to_torch(single(name), form="matrix")
    x, A = points(5)
    theirs = [single(name)(a.numpy(), b.numpy()).full()[:, 0] for a, b in zip(x, A, strict=True)]
    assert np.allclose(module(x, A), theirs, rtol=1e-12, atol=1e-13)
    assert torch.equal(module(x[2], A[2]), module(x[2:3], A[2:3])[0])


@pytest.mark.parametrize("name", MATRICES)
def test_an_operation_works_in_any_batch_and_precision(name: str) -> None:
    module = to_torch(single(name))
    x, A = points(2, 3)
    wide = module(x, A)
    assert wide.shape == (2, 3, SIZE)
    assert torch.allclose(wide[1], module(x[1], A[1]), rtol=1e-13)
    assert torch.allclose(torch.func.vmap(module)(x, A), wide, rtol=1e-13)
    assert torch.allclose(torch.func.vmap(torch.func.vmap(module))(x, A), wide, rtol=1e-13)
    assert torch.allclose(torch.func.vmap(module, (0, None))(x, A[0]), module(x, A[0]), rtol=1e-13)
    single_precision = module(x.float(), A.float())
    assert single_precision.dtype == torch.float32
    assert torch.allclose(single_precision.double(), wide, rtol=1e-3, atol=1e-4)
    assert module(x[:0], A[:0]).shape == (0, 3, SIZE)


@pytest.mark.parametrize("form", [None, "matrix"])
@pytest.mark.parametrize("name", MATRICES)
def test_an_operation_stays_on_the_device_of_its_arguments(name: str, form) -> None:
    x, A = (v.to("meta") for v in points(4))  # a device without numbers refuses all others
    result = to_torch(single(name), form=form)(x, A)
    assert (result.device.type, result.shape) == ("meta", (4, SIZE))


@pytest.mark.parametrize(
    "name", ["solve_lu", "map", "conditional", "if_else_short", "spline_node", "sparse", "blocks"]
)
def test_compiles_without_a_graph_break(name: str) -> None:
    module = to_torch(single(name), form="matrix")
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    x, A = points(4)
    assert torch.equal(compiled(x, A), module(x, A))


@pytest.mark.parametrize("name", ["solve_lu", "spline_table_2d", "map", "if_else_short"])
def test_gradients_of_first_and_second_order(name: str) -> None:
    inputs = [v.requires_grad_() for v in points(2)]
    assert torch.autograd.gradcheck(to_torch(single(name)), inputs)
    assert torch.autograd.gradgradcheck(to_torch(single(name)), inputs)


def test_a_network_keeps_its_matrix_products_whole() -> None:
    x, W = ca.MX.sym("x", 30), ca.DM(np.random.default_rng(0).normal(size=(30, 30)))
    function = ca.Function("f", [x], [W @ ca.tanh(W @ x)])
    assert to_torch(function).form.size < 50 < 900 < to_torch(function, form="scalar").form.size


def test_inputs_and_outputs_in_segments() -> None:
    x, y, A = ca.MX.sym("x"), ca.MX.sym("y", 2), ca.MX.sym("A", 2, 2)
    solved = ca.solve(A, y, "lapacklu", {})
    function = ca.Function(
        "f", [ca.vertcat(x, y), A], [ca.vertcat(x, solved, 2 * y), ca.horzcat(solved, A)]
    )
    module = to_torch(function)
    v, B = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([[2.0, 1.0], [0.0, 4.0]]).double()
    for ours, theirs in zip(module(v, B), function(v.numpy(), B.numpy()), strict=True):
        assert np.allclose(ours.numpy().ravel(), theirs.full().ravel(), rtol=1e-14)


def test_a_large_product_is_not_expanded_first() -> None:
    A, B = ca.MX.sym("A", 400, 400), ca.MX.sym("B", 400, 400)  # 128 million scalars
    assert to_torch(ca.Function("f", [A, B], [A @ B])).form.size < 10


def test_functions_that_are_never_inlined_and_called_again_and_again() -> None:
    x = ca.MX.sym("x", 3)
    f = ca.Function("f0", [x], [ca.sin(x)])
    for k in range(6):
        f = ca.Function(f"f{k + 1}", [x], [0.5 * f(f(x))], {"never_inline": True})
    v = torch.tensor([0.1, 0.2, 0.3]).double()
    assert np.allclose(to_torch(f)(v), f(v.numpy()).full()[:, 0], rtol=1e-12)


def test_a_map_with_summed_outputs_and_branches_of_other_sparsity() -> None:
    x, a, c = ca.MX.sym("x", 2), ca.MX.sym("a"), ca.MX.sym("c")
    f = ca.Function("f", [x, a], [ca.sin(x) * a, a * x[0]])
    summed = f.map(4, [False, True], [False, True])
    v = torch.arange(8.0).reshape(2, 4).double()
    for ours, theirs in zip(
        to_torch(summed)(v, torch.tensor([2.0]).double()), summed(v.numpy(), 2.0), strict=True
    ):
        assert np.allclose(ours.numpy().ravel(), theirs.full().ravel())
    half = ca.Function("half", [x], [ca.sparsify(ca.DM([1, 0])) * x])
    choice = ca.Function.if_else("choice", half, ca.Function("twice", [x], [2 * x]))
    module = to_torch(ca.Function("g", [c, x], [choice(c, x)]))
    rows = module(torch.tensor([[1.0], [0.0]]), torch.tensor([3.0, 4.0]))
    assert rows.tolist() == [[3.0, 0.0], [6.0, 8.0]]
    assert module.calls_through == to_torch(summed).calls_through == ()


# -- special cases -----------------------------------------------------------------------------


def test_a_branch_that_is_not_taken_leaks_no_nan() -> None:
    x = ca.MX.sym("x")
    one, two = ca.Function("a", [x], [ca.sqrt(x)]), ca.Function("b", [x], [x**2])
    module = to_torch(ca.Function("f", [x], [ca.Function.if_else("c", one, two)(x > 0, x)]))
    v = torch.tensor([[-2.0], [4.0], [0.0]], dtype=torch.float64, requires_grad=True)
    assert module(v).flatten().tolist() == [4.0, 2.0, 0.0]
    (slope,) = torch.autograd.grad(module(v).sum(), v)
    assert slope.flatten().tolist() == [-4.0, 0.25, 0.0]


def test_a_failed_assertion_is_nan_in_its_row_alone() -> None:
    x = ca.MX.sym("x")
    module = to_torch(ca.Function("f", [x], [(2 * x).attachAssert(x > 0, "x > 0")]), form="matrix")
    result = module(torch.tensor([[1.0], [-1.0]]))[:, 0]
    assert result[0] == 2.0
    assert torch.isnan(result[1])


def test_an_index_out_of_range_is_nan() -> None:
    x, i = ca.MX.sym("x", 2), ca.MX.sym("i")
    function = ca.Function("f", [x, i], [x[i]])
    module, x0 = to_torch(function, form="matrix"), torch.tensor([5.0, 7.0]).double()
    for index in (-0.5, 0.0, 0.9, 1.0, 2.0, -1.0):
        ours, theirs = module(x0, torch.tensor([index]).double()), function(x0.numpy(), index)
        assert np.allclose(ours, theirs.full()[:, 0], equal_nan=True)


@pytest.mark.parametrize(
    "pick",
    [lambda A, i: A[i, 1], lambda A, i: A[1, i], lambda A, i: A[i, i], lambda A, i: A[:, i]],
)
def test_a_computed_index_beside_a_fixed_one(pick) -> None:
    A, i = ca.MX.sym("A", 3, 3), ca.MX.sym("i")
    function = ca.Function("f", [A, i], [pick(A, i)])
    module, values = to_torch(function), torch.arange(9.0).reshape(3, 3).double()
    assert module.calls_through == ()
    for index in (0.0, 2.0, 3.0, -1.0):
        ours = module(values, torch.tensor([index]).double())
        theirs = function(values.numpy(), index).full()
        assert np.allclose(ours, theirs.ravel(), equal_nan=True)
    # CasADi 3.8 derives some of these wrongly, so finite differences are the judge
    inside = torch.tensor([1.0]).double()
    assert torch.autograd.gradcheck(lambda v: module(v, inside), values.requires_grad_())


def test_a_singular_row_leaves_the_others_alone() -> None:
    A, b = ca.MX.sym("A", 2, 2), ca.MX.sym("b", 2)
    module = to_torch(ca.Function("f", [A, b], [ca.solve(A, b, "lapacklu", {})]))
    rows = torch.stack([torch.eye(2), torch.zeros(2, 2)]).double()
    result = module(rows, torch.ones(2, 2).double())
    assert result[0].tolist() == [1.0, 1.0]
    assert not torch.isfinite(result[1]).any()


def test_the_determinant_of_a_singular_row_has_its_slope_too() -> None:
    A = ca.MX.sym("A", 3, 3)
    module = to_torch(ca.Function("f", [A], [ca.det(A)]), form="matrix")
    rows = torch.diag_embed(torch.tensor([[0.0, 2.0, 3.0], [1.0, 2.0, 3.0]], dtype=torch.float64))
    assert module(rows).flatten().tolist() == pytest.approx([0.0, 6.0])
    slopes = torch.func.vmap(torch.func.jacrev(module))(rows)[:, 0]
    adjugates = torch.diag_embed(torch.tensor([[6.0, 0.0, 0.0], [6.0, 3.0, 2.0]]).double())
    assert torch.allclose(slopes, adjugates)


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "bspline"])
@pytest.mark.parametrize("m", [1, 2])
def test_a_table_follows_casadi_inside_on_the_knots_and_outside(kind: str, m: int) -> None:
    values = np.random.default_rng(0).normal(size=m * 7)
    table = ca.interpolant("table", kind, [[0.0, 0.1, 0.5, 0.8, 1.2, 1.9, 2.0]], values)
    slope = table.jacobian()
    module = to_torch(table)
    assert module.calls_through == ()
    for x in (-1.0, 0.0, 0.1, 0.5, 0.9, 1.3, 1.99, 2.0, 2.7, float("nan")):
        v = torch.tensor([x], dtype=torch.float64)
        assert np.allclose(module(v), table(x).full()[:, 0], rtol=1e-12, equal_nan=True)
        if kind == "linear" or 0 < x < 2:  # a spline jumps to zero at its ends
            ours, theirs = torch.func.jacrev(module)(v), slope(x, 0).full()
            assert np.allclose(ours, theirs, rtol=1e-10, equal_nan=True)


def test_a_table_whose_derivatives_were_asked_for_is_still_read() -> None:
    table = ca.interpolant("table", "bspline", [np.linspace(0, 1, 6)], np.arange(6.0) ** 2)
    before = table_of(table)
    table.jacobian().jacobian()
    assert table_of(table) == before


def test_the_values_of_a_table_may_be_an_argument() -> None:
    table = ca.interpolant("table", "linear", [[0.0, 1.0, 3.0]], 1)
    module = to_torch(table)
    x, values = torch.tensor([[0.5], [2.0]]).double(), torch.tensor([1.0, 2.0, 4.0]).double()
    assert module(x, values).flatten().tolist() == [1.5, 3.0]
    jacobian = torch.func.jacrev(module, argnums=1)(x[1], values)
    assert jacobian.tolist() == [[0.0, 0.5, 0.5]]


def test_the_slope_of_a_spline_in_its_coefficients() -> None:
    # CasADi 3.8 gives zero here, so finite differences are the judge
    x, c = ca.MX.sym("x"), ca.MX.sym("c", 6)
    knots = [[0.0, 0, 0, 0, 0.3, 0.6, 1, 1, 1, 1]]
    module = to_torch(ca.Function("f", [x, c], [ca.bspline(x, c, knots, [3], 1, {})]))
    inputs = (
        torch.tensor([0.4], dtype=torch.float64),
        torch.arange(6, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(module, inputs)


# -- calling through ---------------------------------------------------------------------------


class Blackbox(ca.Callback):
    """y = (sin x₀ · x₁, x₁²), of which CasADi sees numbers and a Jacobian."""

    def __init__(self) -> None:
        super().__init__()
        self.construct("blackbox", {})

    @staticmethod
    def value(x):
        return ca.vertcat(ca.sin(x[0]) * x[1], x[1] ** 2)

    def get_n_in(self) -> int:
        return 1

    def get_n_out(self) -> int:
        return 1

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        return ca.Sparsity.dense(2, 1)

    def get_sparsity_out(self, i: int) -> ca.Sparsity:
        return ca.Sparsity.dense(2, 1)

    def eval(self, arg):
        return [self.value(arg[0])]

    def has_jacobian(self) -> bool:
        return True

    def get_jacobian(self, name, inames, onames, opts) -> ca.Function:
        x, y = ca.MX.sym("x", 2), ca.MX.sym("y", 2)
        return ca.Function(name, [x, y], [ca.jacobian(self.value(x), x)], inames, onames, opts)


def test_a_callback_is_called_through_with_its_derivatives_and_says_so() -> None:
    callback = Blackbox()  # CasADi holds no reference to it
    x = ca.MX.sym("x", 2)
    for function in (callback, ca.Function("f", [x], [callback(x) * x[0]])):
        module = to_torch(function)
        assert module.calls_through == ("blackbox",)
        assert "calls CasADi for ('blackbox',)" in repr(module)
        assert (differences(function) <= BARS).all()
        v = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
        each = torch.stack([module(row) for row in v])
        assert torch.equal(module(v), each)
        assert torch.equal(torch.func.vmap(module)(v), each)
        assert module(v[:0]).shape == (0, 2)
        assert module(v.float()).dtype == torch.float32
        v.requires_grad_()
        assert torch.autograd.gradcheck(module, v)
        assert torch.autograd.gradgradcheck(module, v)


def test_a_derivative_that_casadi_knows_to_be_zero_is_zero() -> None:
    x = ca.MX.sym("x", 3)
    module = to_torch(ca.Function("f", [x], [ca.find(x) * x[1]]), form="matrix")
    v = torch.tensor([0.0, 2.0, 3.0], dtype=torch.float64)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        assert jacobian(module)(v).tolist() == [[0.0, 1.0, 0.0]]


def test_a_solver_inside_a_function_is_called_through() -> None:
    z, p = ca.MX.sym("z"), ca.MX.sym("p")
    root = ca.rootfinder("root", "newton", {"x": z, "p": p, "g": z**3 + z - p})
    function = ca.Function("f", [p], [root(0.5, p) ** 2])
    module = to_torch(function)
    assert module.calls_through == ("root",)
    assert (differences(function) <= BARS).all()


def test_what_is_all_torch_calls_nothing() -> None:
    assert all(to_torch(single(name)).calls_through == () for name in MATRICES)
    assert isinstance(to_torch(single("map")), TorchFunction)
