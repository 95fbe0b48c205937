"""CasADi → torch: every operation, any batch, all derivatives."""

from __future__ import annotations

import math
import pickle
import warnings

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import to_torch
from hybridmodel.bridges import operations
from hybridmodel.bridges.operations import OPERATIONS

INF, NAN = math.inf, math.nan
UNARY = {
    "ASSIGN": lambda x: x,
    "NEG": lambda x: -x,
    "SQ": lambda x: x**2,
    "TWICE": lambda x: 2 * x,
    "INV": lambda x: 1 / x,
    "EXP": ca.exp,
    "LOG": ca.log,
    "EXPM1": ca.expm1,
    "LOG1P": ca.log1p,
    "SQRT": ca.sqrt,
    "SIN": ca.sin,
    "COS": ca.cos,
    "TAN": ca.tan,
    "ASIN": ca.asin,
    "ACOS": ca.acos,
    "ATAN": ca.atan,
    "SINH": ca.sinh,
    "COSH": ca.cosh,
    "TANH": ca.tanh,
    "ASINH": ca.asinh,
    "ACOSH": ca.acosh,
    "ATANH": ca.atanh,
    "ERF": ca.erf,
    "ERFINV": ca.erfinv,
    "FABS": ca.fabs,
    "SIGN": ca.sign,
    "FLOOR": ca.floor,
    "CEIL": ca.ceil,
    "NOT": ca.logic_not,
    "CONSTPOW": lambda x: x**2.5,
}
BINARY = {
    "ADD": lambda x, y: x + y,
    "SUB": lambda x, y: x - y,
    "MUL": lambda x, y: x * y,
    "DIV": lambda x, y: x / y,
    "POW": lambda x, y: x**y,
    "ATAN2": ca.atan2,
    "HYPOT": ca.hypot,
    "FMIN": ca.fmin,
    "FMAX": ca.fmax,
    "FMOD": ca.fmod,
    "REMAINDER": ca.remainder,
    "COPYSIGN": ca.copysign,
    "LT": lambda x, y: x < y,
    "LE": lambda x, y: x <= y,
    "EQ": lambda x, y: x == y,
    "NE": lambda x, y: x != y,
    "AND": ca.logic_and,
    "OR": ca.logic_or,
    "IF_ELSE_ZERO": lambda x, y: ca.if_else(x, y, 0),
}
SPECIAL = (0.0, -0.0, 0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 3.0, 1e-300, 1e300, INF, -INF, NAN)
# Python cannot write a lift, and CasADi prints where PRINTME stands
TABLE = sorted({*OPERATIONS} - {"LIFT", "PRINTME"})
CASADI_ERFINV = 1e-5  # how far CasADi's own approximation is off; torch's is exact to rounding


def scalar(operation: str) -> tuple[ca.Function, int]:
    """The operation alone as a Function of one or two scalars."""
    made = UNARY.get(operation) or BINARY[operation]
    arguments = [ca.SX.sym("x"), ca.SX.sym("y")][: 1 if operation in UNARY else 2]
    value = made(*arguments)
    return ca.Function("op", arguments, [value]), len(arguments)


def points(operation: str, count: int) -> np.ndarray:
    """Columns of random numbers, and all pairings of special ones."""
    random = np.random.default_rng(0).uniform(-3, 3, (300, count))
    if operation == "ERFINV":
        random /= 3
    special = np.array(np.meshgrid(*[SPECIAL] * count)).reshape(count, -1).T
    return np.concatenate([random, special])


def casadi_values(function: ca.Function, columns: np.ndarray) -> np.ndarray:
    return np.array(
        [[float(v) for v in np.atleast_1d(function(*row).full().ravel())] for row in columns]
    )


def opcodes(function: ca.Function) -> set[int]:
    return {function.instruction_id(k) for k in range(function.n_instructions())}


@pytest.mark.parametrize("operation", TABLE)
def test_every_operation_gives_casadis_numbers(operation: str) -> None:
    function, count = scalar(operation)
    if operation != "ASSIGN":
        assert getattr(ca, f"OP_{operation}") in opcodes(function)
    columns = points(operation, count)
    ours = to_torch(function)(*torch.tensor(columns).T[:, :, None])[:, 0].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = casadi_values(function, columns)[:, 0]
    rounding = CASADI_ERFINV if operation == "ERFINV" else 1e-14
    close = np.isclose(ours, theirs, rtol=rounding, atol=1e-15, equal_nan=True)
    assert close.all(), list(zip(columns[~close], ours[~close], theirs[~close], strict=True))[:9]


@pytest.mark.parametrize("operation", TABLE)
def test_every_operation_gives_casadis_derivatives(operation: str) -> None:
    function, count = scalar(operation)
    arguments = [ca.SX.sym("x"), ca.SX.sym("y")][:count]
    flat = ca.vertcat(*arguments)
    first = ca.jacobian(function(*arguments), flat)
    reference = ca.Function("d", arguments, [first, ca.jacobian(first, flat)])
    module = to_torch(function)

    def value(v: torch.Tensor) -> torch.Tensor:
        return module(*v[:, None])[0]

    rounding = 10 * CASADI_ERFINV if operation == "ERFINV" else 1e-9
    for k, row in enumerate(points(operation, count)[292:]):
        if not np.isfinite(row).all() or not np.isfinite(float(function(*row))):
            continue
        v = torch.tensor(row)
        slope, curve = (m.full() for m in reference(*row))
        # at a singular point (sqrt and pow at 0) torch may choose a finite slope, CasADi has none
        regular = np.isfinite(slope[0])
        ours = torch.func.jacrev(value)(v).numpy()
        assert np.allclose(ours[regular], slope[0, regular], rounding, 1e-11)
        if k < 8:  # the random ones
            assert np.allclose(torch.func.hessian(value)(v), curve, 10 * rounding, 1e-9)


def test_erfinv_inverts_erf() -> None:
    module = to_torch(scalar("ERFINV")[0])
    z = torch.linspace(-3, 3, 50, dtype=torch.float64)[:, None]
    assert torch.allclose(module(torch.erf(z)), z, rtol=1e-10)


@pytest.mark.parametrize("operation", TABLE)
def test_slopes_are_the_same_in_single_precision(operation: str) -> None:
    function, count = scalar(operation)
    module = to_torch(function)
    for row in points(operation, count)[:5]:
        both = []
        for dtype in (torch.float64, torch.float32):
            v = torch.tensor(row, dtype=torch.float32).to(dtype)
            both.append(torch.func.jacrev(lambda v: module(*v[:, None])[0])(v).double())
        assert torch.allclose(*both, rtol=1e-4, atol=1e-5, equal_nan=True), row


@pytest.mark.parametrize("operation", ["FMOD", "REMAINDER"])
def test_a_remainder_counts_its_multiples_exactly(operation: str) -> None:
    function, _ = scalar(operation)
    x, y = ca.MX.sym("x"), ca.MX.sym("y")
    slope = ca.Function("slope", [x, y], [ca.jacobian(function(x, y), y)])
    points = np.random.default_rng(0).uniform(-9, 9, (2, 2000, 1))
    v, w = (torch.from_numpy(p).requires_grad_() for p in points)
    (ours,) = torch.autograd.grad(to_torch(function)(v, w).sum(), w)
    theirs = slope.map(2000)(*points[..., 0]).full()[0]
    assert np.allclose(ours[:, 0], theirs, rtol=1e-12)


def test_a_power_of_zero_keeps_its_mixed_derivative() -> None:
    module = to_torch(scalar("POW")[0])
    point = torch.tensor([2.0, 0.0], dtype=torch.float64)
    hessian = torch.func.hessian(lambda v: module(v[:1], v[1:])[0])(point)
    assert torch.allclose(hessian, torch.tensor([[0.0, 0.5], [0.5, math.log(2) ** 2]]).double())


def test_a_tie_shares_its_slope_and_nan_is_passed_over() -> None:
    for operation in ("FMIN", "FMAX"):
        module = to_torch(scalar(operation)[0])
        x, y = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
        assert torch.autograd.grad(module(x, y), (x, y)) == (0.5, 0.5)
        nan = torch.full((1,), NAN, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.grad(module(nan, y), (nan, y)) == (0.0, 1.0)
        assert torch.autograd.grad(module(x, nan), (x, nan)) == (1.0, 0.0)


def test_all_derivatives_of_all_orders_of_a_mixture() -> None:
    x, y = ca.SX.sym("x", 2), ca.SX.sym("y", 2)
    value = ca.vertcat(ca.sin(x[0] * y[1]) / (2 + y[0] ** 2), ca.atan2(x[1], 3 + ca.exp(y[0])))
    module = to_torch(ca.Function("f", [x, y], [value]))
    inputs = [torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
              for i in range(2)]  # fmt: skip
    inputs = [v.requires_grad_() for v in inputs]
    assert torch.autograd.gradcheck(module, inputs)
    assert torch.autograd.gradgradcheck(module, inputs)


# -- shapes and dtypes -----------------------------------------------------------------------


def mixture() -> ca.Function:
    """Vector, matrix and sparse inputs; vector, matrix, sparse, constant and empty outputs."""
    x, A = ca.SX.sym("x", 2), ca.SX.sym("A", 2, 3)
    s = ca.SX.sym("s", ca.Sparsity.diag(2))
    sparse = ca.SX(3, 2)
    sparse[0, 1] = x[0]
    sparse[2, 0] = A[1, 2]
    outputs = [A.T @ x, A * x[0] + 1, sparse, s @ x, ca.SX([1.5, -2.0]), ca.SX(0, 1), x.T]
    return ca.Function("mixture", [x, A, s], outputs, ["x", "A", "s"], list("abcdefg"))


SHAPES = ((3,), (2, 3), (3, 2), (2,), (2,), (0,), (1, 2))


@pytest.mark.parametrize("batch", [(), (4,), (2, 1, 3), (0,)], ids=str)
def test_matrices_sparse_constant_and_empty_in_any_batch(batch: tuple[int, ...]) -> None:
    function, generator = mixture(), torch.Generator().manual_seed(0)
    x, A, s = (torch.randn(*batch, *shape, generator=generator).double()
               for shape in ((2,), (2, 3), (2, 2)))  # fmt: skip
    results = to_torch(function)(x, A, s)
    assert [tuple(r.shape) for r in results] == [(*batch, *shape) for shape in SHAPES]
    for index in np.ndindex(*batch):
        theirs = function(x[index].numpy(), A[index].numpy(), s[index].numpy())
        for ours, wanted in zip(results, theirs, strict=True):
            dense = ca.DM(wanted).full()
            assert np.allclose(ours[index].numpy().ravel(), dense.ravel(), rtol=1e-14)


def test_leading_dims_broadcast() -> None:
    module, generator = to_torch(mixture()), torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 2, generator=generator).double()
    A = torch.randn(3, 2, 3, generator=generator).double()
    s = torch.randn(2, 2, generator=generator).double()
    wide = module(x.expand(4, 3, 2), A.expand(4, 3, 2, 3), s.expand(4, 3, 2, 2))
    for ours, theirs in zip(module(x, A, s), wide, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_inputs(dtype: torch.dtype) -> None:
    x, A, s = torch.ones(2, dtype=dtype), torch.ones(2, 3, dtype=dtype), torch.eye(2, dtype=dtype)
    assert {r.dtype for r in to_torch(mixture())(x, A, s)} == {dtype}


def test_mixed_precision_is_promoted_and_integers_are_refused() -> None:
    x = ca.SX.sym("x")
    k = ca.SX.sym("k")
    module = to_torch(ca.Function("f", [k, x], [ca.fmax(k, 0.1) * x], ["k", "x"], ["y"]))
    single, double = torch.zeros(1), torch.ones(1).double()
    assert float(module(single, double)) == 0.1
    with pytest.raises(ValueError, match=r"f: k must hold floating-point numbers, got torch.int64"):
        module(torch.zeros(1, dtype=torch.int64), double)


def test_a_function_of_nothing_but_empty_inputs() -> None:
    function = ca.Function("f", [ca.SX(0, 1)], [ca.SX([1.0, 2.0])])
    result = to_torch(function)(torch.zeros(5, 0, dtype=torch.float64))
    assert torch.equal(result, torch.tensor([[1.0, 2.0]] * 5).double())


def test_a_function_of_nothing() -> None:
    result = to_torch(ca.Function("f", [], [ca.SX([1.0, 2.0])]))()
    assert torch.equal(result, torch.tensor([1.0, 2.0]).double())


@pytest.mark.parametrize("form", ["scalar", "matrix", None])
def test_either_form_of_an_mx_function_gives_its_numbers(form) -> None:
    x, A = ca.MX.sym("x", 3), ca.DM(np.arange(9.0).reshape(3, 3))
    module = to_torch(ca.Function("f", [x], [ca.tanh(A @ x)]), form=form)
    assert form is None or type(module.form).__name__ == f"{form.title()}Form"
    v = torch.tensor([0.1, -0.2, 0.3]).double()
    assert np.allclose(module(v), np.tanh(A.full() @ v.numpy()))


# -- transforms ------------------------------------------------------------------------------


def test_torch_func_transforms() -> None:
    x = ca.SX.sym("x", 2)
    module = to_torch(ca.Function("f", [x], [ca.vertcat(ca.sin(x[0]) * x[1], x[1] ** 3)]))
    v = torch.tensor([[0.3, 2.0], [-1.0, 0.5]]).double()
    assert torch.equal(torch.func.vmap(module)(v), module(v))
    for row in v:
        a, b = row.tolist()
        J = torch.tensor([[math.cos(a) * b, math.sin(a)], [0.0, 3 * b**2]]).double()
        assert torch.allclose(torch.func.jacrev(module)(row), J)
        assert torch.allclose(torch.func.jacfwd(module)(row), J)
        H = torch.tensor([[-math.sin(a) * b, math.cos(a)], [math.cos(a), 0.0]]).double()
        assert torch.allclose(torch.func.hessian(module)(row)[0], H)
    jacobians = torch.func.vmap(torch.func.jacrev(module))(v)
    assert torch.allclose(jacobians, torch.stack([torch.func.jacrev(module)(r) for r in v]))


def test_compiles_without_a_graph_break() -> None:
    x = ca.SX.sym("x", 2)
    module = to_torch(ca.Function("f", [x], [ca.vertcat(ca.sin(x[0]) * 0.5, ca.fmax(x[1], 0.1))]))
    v = torch.tensor([[0.3, 2.0], [-1.0, 0.5]]).double()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert torch.equal(compiled(v), module(v))


def test_survives_pickling() -> None:
    x = ca.SX.sym("x", 2)
    module = to_torch(ca.Function("f", [x], [ca.sin(x)]))
    v = torch.ones(2).double()
    assert torch.equal(pickle.loads(pickle.dumps(module))(v), module(v))


# -- refusals --------------------------------------------------------------------------------


def test_an_unknown_operation_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = ca.SX.sym("x")
    monkeypatch.delitem(operations.OPCODE, ca.OP_SIN)  # as if a new CasADi had invented it
    with pytest.raises(
        ValueError, match=r"f: operation SIN at instruction 1 .* known are ACOS, ACOSH, .*, TWICE"
    ):
        to_torch(ca.Function("f", [x], [ca.sin(x)]))


def test_a_printing_function_prints_nothing_in_torch(capfd: pytest.CaptureFixture[str]) -> None:
    x = ca.SX.sym("x")
    module = to_torch(ca.Function("f", [x], [x.printme(0) ** 2]))
    assert module(torch.tensor([3.0])) == 9.0
    assert capfd.readouterr().out == ""


def test_free_symbols_are_refused() -> None:
    x, a = ca.SX.sym("x"), ca.SX.sym("a")
    function = ca.Function("f", [x], [a * x], {"allow_free": True})
    with pytest.raises(ValueError, match=r"f: symbols .*a.* are not among its inputs"):
        to_torch(function)


def test_a_form_that_does_not_exist_is_refused() -> None:
    x = ca.MX.sym("x")
    with pytest.raises(ValueError, match="form must be 'scalar', 'matrix' or None, got 'SX'"):
        to_torch(ca.Function("f", [x], [x]), form="SX")  # type: ignore[arg-type]
    knots = [[0.0, 0, 0, 0, 1, 1, 1, 1]]
    spline = ca.Function("f", [x], [ca.bspline(x, ca.DM(range(4)), knots, [3], 1, {})])
    with pytest.raises(
        ValueError, match=r"f: this MX function has no scalar \(SX\) form: .*eval_sx"
    ):
        to_torch(spline, form="scalar")


def test_what_is_no_function_is_refused() -> None:
    for wrong in (None, ca.SX.sym("x"), ca.Function(), lambda x: x):
        with pytest.raises(ValueError, match=r"wanted a casadi.Function, got"):
            to_torch(wrong)  # type: ignore[arg-type]
    x = ca.SX.sym("x")
    with pytest.raises(ValueError, match="f: a SXFunction has no 'matrix' form"):
        to_torch(ca.Function("f", [x], [x]), form="matrix")


def test_all_arguments_are_taken_in_the_widest_dtype() -> None:
    x, A = ca.MX.sym("x", 2), ca.MX.sym("A", 2, 2)
    module = to_torch(ca.Function("f", [x, A], [ca.solve(A, ca.sin(x))]))
    v, B = torch.tensor([0.1, 0.2]), torch.eye(2).double() * 3
    assert torch.equal(module(v, B), module(v.double(), B))
    assert module(v.bfloat16(), B.bfloat16()).dtype == torch.bfloat16


def test_wrong_shapes_and_counts_are_named() -> None:
    module = to_torch(mixture())
    x, A, s = torch.ones(2), torch.ones(2, 3), torch.eye(2)
    with pytest.raises(ValueError, match=r"mixture takes 3 arguments .*'x', 'A', 's'.*, got 2"):
        module(x, A)
    with pytest.raises(ValueError, match=r"mixture: x must have shape \(…, 2\), got \(3,\)"):
        module(torch.ones(3), A, s)
    with pytest.raises(ValueError, match=r"mixture: A must have shape \(…, 2, 3\), got \(3, 2\)"):
        module(x, A.T, s)
    with pytest.raises(ValueError, match=r"mixture: x must have shape \(…, 2\), got \(\)"):
        module(torch.tensor(1.0), A, s)
    with pytest.raises(ValueError, match=r"mixture: x must be a tensor, got .*ndarray"):
        module(x.numpy(), A, s)
    with pytest.raises(
        ValueError, match=r"mixture: leading dims must broadcast, got .*'x': \(5, 2\)"
    ):
        module(x.expand(5, 2), A.expand(4, 2, 3), s)
