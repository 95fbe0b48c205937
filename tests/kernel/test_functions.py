"""Every operation of the kernel against CasADi, and its error in units in the last place."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import casadi as ca
import numpy as np
import pytest
from llvmlite import binding, ir
from scipy import special

from hybridmodel.bridges.operations import OPERATIONS
from hybridmodel.kernel.functions import FUNCTIONS, sincos
from hybridmodel.kernel.lanes import INDEX, POINTER, Lanes, Precision, Shape

NUMPY = {"float32": np.float32, "float64": np.float64}
WIDTH = {"float32": 16, "float64": 8}
PAIRED = {  # operations of two arguments
    *("ADD", "SUB", "MUL", "DIV", "LIFT", "PRINTME", "POW", "CONSTPOW", "ATAN2", "HYPOT", "FMIN"),
    *("FMAX", "FMOD", "REMAINDER", "COPYSIGN", "LT", "LE", "EQ", "NE", "AND", "OR", "IF_ELSE_ZERO"),
}
# largest error allowed in units in the last place, float32 and float64; 0 for all others
ULPS = {
    "EXP": (1, 1),
    "EXPM1": (1.7, 2.2),
    "LOG": (1, 1),
    "LOG1P": (1.5, 1.5),
    "SIN": (1.6, 1.6),
    "COS": (1.6, 1.6),
    "TAN": (3.6, 3.2),
    "ASIN": (2, 2.3),
    "ACOS": (1.2, 1.3),
    "ATAN": (2.2, 2.3),
    "SINH": (2.2, 2.6),
    "COSH": (1.4, 1.4),
    "TANH": (2.6, 2.8),
    "ASINH": (2, 2.1),
    "ACOSH": (2.1, 2.2),
    "ATANH": (1.9, 1.9),
    "ERF": (1.8, 3.5),
    "ERFINV": (0.6, 4),
    "ATAN2": (2.3, 2.6),
    "HYPOT": (1.3, 1.3),
    "POW": (0.6, 1.1),
    "CONSTPOW": (0.6, 1.1),
}
# where most numbers of a model are
USUAL = {
    "EXP": (-100, 88),
    "EXPM1": (-40, 88),
    "LOG": (0, 4),
    "LOG1P": (-1, 3),
    "ASIN": (-1, 1),
    "ACOS": (-1, 1),
    "SINH": (-89, 89),
    "COSH": (-89, 89),
    "TANH": (-12, 12),
    "ACOSH": (1, 9),
    "ATANH": (-1, 1),
    "ERF": (-7, 7),
    "ERFINV": (-1, 1),
}
# numpy's functions in more digits; CasADi's own are float64
EXTENDED: dict[str, Callable[..., np.ndarray]] = {
    "EXP": np.exp,
    "EXPM1": np.expm1,
    "LOG": np.log,
    "LOG1P": np.log1p,
    "SIN": np.sin,
    "COS": np.cos,
    "TAN": np.tan,
    "ASIN": np.arcsin,
    "ACOS": np.arccos,
    "ATAN": np.arctan,
    "SINH": np.sinh,
    "COSH": np.cosh,
    "TANH": np.tanh,
    "ASINH": np.arcsinh,
    "ACOSH": np.arccosh,
    "ATANH": np.arctanh,
    "ERF": np.vectorize(math.erf, [float]),  # numpy has none
    "ERFINV": lambda x: special.erfinv(x.astype(np.float64)),
    "ATAN2": np.arctan2,
    "HYPOT": np.hypot,
    "POW": np.power,
    "CONSTPOW": np.power,
}
SPECIAL = (
    *(0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 7.0, 0.1, 1e-3, 1e-5, 1e-9, 709.5, 711.0, 88.8, 104.0),
    *(1e10, 1e20, 3e38, 1e160, 1.7e308, 1e-30, 1e-38, 1e-45, 1e-160, 1e-310, 5e-324, np.inf),
)
VALUES = np.array([*SPECIAL, *(-x for x in SPECIAL), np.nan])

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of NaN and ∞


def aligned(count: int, kind: type) -> np.ndarray:
    size = np.dtype(kind).itemsize
    room = np.zeros(count + 64 // size, kind)
    start = (-room.ctypes.data % 64) // size
    return room[start : start + count]


class Compiled:
    """All operations as functions of arrays, compiled at some width."""

    def __init__(self, precision: Precision, width: int) -> None:
        self.kind, self.width = NUMPY[precision], width
        module = ir.Module("functions")
        emitters = {**FUNCTIONS, "ONLY_SIN": _first, "ONLY_COS": _second}
        for name, emit in emitters.items():
            kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, INDEX])
            function = ir.Function(module, kind, "kernel_" + name)
            builder = ir.IRBuilder(function.append_basic_block())
            lanes = Lanes(module, builder, Shape(precision, width, 1, 8))
            with lanes.loop(function.args[3]) as (i, _, _):
                given = [lanes.load(function.args[p], i) for p in range(1 + (name in PAIRED))]
                lanes.store(emit(lanes, *given), function.args[2], i)
            builder.ret_void()
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        parsed = binding.parse_assembly(str(module))
        parsed.verify()
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(),
            features=binding.get_host_cpu_features().flatten(),
            opt=2,
        )
        self.engine = binding.create_mcjit_compiler(parsed, machine)
        self.engine.finalize_object()

    def __call__(self, name: str, *arguments: np.ndarray) -> np.ndarray:
        count = len(arguments[0])
        rows = -(-count // self.width)
        x, y, result = (aligned(rows * self.width, self.kind) for _ in range(3))
        for room, values in zip((x, y), arguments, strict=False):
            room[:count] = values
        address = self.engine.get_function_address("kernel_" + name)
        call = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 3, ctypes.c_int64)(address)
        call(x.ctypes.data, y.ctypes.data, result.ctypes.data, rows)
        return result[:count].copy()


def _first(lanes: Lanes, x: object) -> object:
    return sincos(lanes, x)[0]


def _second(lanes: Lanes, x: object) -> object:
    return sincos(lanes, x)[1]


@pytest.fixture(scope="module", params=["float32", "float64"])
def compiled(request: pytest.FixtureRequest) -> Compiled:
    return Compiled(request.param, WIDTH[request.param])


def casadi(name: str, *arguments: np.ndarray) -> np.ndarray:
    """What CasADi's own evaluation gives."""
    if name in ("LIFT", "PRINTME"):  # the value passes through
        return arguments[0].astype(np.float64)
    symbols = [ca.SX.sym(s) for s in "xy"[: len(arguments)]]
    build = ca.SX.binary if len(arguments) == 2 else ca.SX.unary
    function = ca.Function("f", symbols, [build(getattr(ca, f"OP_{name}"), *symbols)])
    given = [ca.DM(a.astype(np.float64)).T for a in arguments]
    return np.asarray(function(*given), np.float64).ravel()


def same(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Equal with the signs of zeros; NaN is NaN."""
    equal = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
    return equal | (np.isnan(found) & np.isnan(wanted))


def check(found: np.ndarray, wanted: np.ndarray, ulps: float, *arguments: np.ndarray) -> None:
    """found is `wanted` within so many units in the last place of its kind, special values too."""
    near = wanted.astype(found.dtype)
    spacing = np.spacing(np.maximum(np.abs(near), np.finfo(found.dtype).tiny))
    error = np.abs(found.astype(wanted.dtype) - wanted) / spacing
    top = np.isinf(near) != np.isinf(found)  # next to the largest number
    top &= np.maximum(np.abs(found), np.abs(near)) >= np.finfo(found.dtype).max * (1 - 1e-6)
    good = same(found, near)
    if ulps:
        signs = (np.signbit(found) == np.signbit(near)) | (near != 0)
        good |= (np.isfinite(error) & (error <= ulps) & signs) | (top & (found * near > 0))
    bad = np.flatnonzero(~good)[:5]
    assert good.all(), [(*(a[i] for a in arguments), found[i], wanted[i]) for i in bad]


def allowed(name: str, precision: type, slack: float = 0) -> float:
    ulps = ULPS.get(name, (0, 0))[precision is np.float64]
    return ulps + slack if ulps else 0


def test_every_operation_of_the_bridges_is_there() -> None:
    assert set(FUNCTIONS) == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_special_values_are_casadis(compiled: Compiled, name: str) -> None:
    values = np.unique(np.abs(VALUES).astype(compiled.kind))
    values = np.concatenate([values, -values])
    pair = [a.ravel() for a in np.meshgrid(values, values)] if name in PAIRED else [values]
    wanted = special.erfinv(values.astype(float)) if name == "ERFINV" else casadi(name, *pair)
    if name == "ERFINV":  # CasADi's is an approximation
        wanted = np.copysign(wanted, values)
    check(compiled(name, *pair), wanted, allowed(name, compiled.kind, 1.0), *pair)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"ERFINV"}))
def test_any_bits_give_casadis_values(compiled: Compiled, name: str) -> None:
    rng = np.random.default_rng(0)
    whole = np.uint32 if compiled.kind is np.float32 else np.uint64
    count = 2000 if name in ("FMOD", "REMAINDER") else 20_000  # large quotients are slow
    pair = [
        rng.integers(0, np.iinfo(whole).max, count, whole, endpoint=True).view(compiled.kind)
        for _ in range(1 + (name in PAIRED))
    ]
    for bits in pair:
        bits[np.isnan(bits)] = np.nan  # signalling ones come from no arithmetic
    check(compiled(name, *pair), casadi(name, *pair), allowed(name, compiled.kind, 1.0), *pair)


@pytest.mark.parametrize("name", sorted(ULPS))
def test_errors_stay_within_the_table(compiled: Compiled, name: str) -> None:
    rng = np.random.default_rng(1)
    low, high = USUAL.get(name, (-20, 20))
    single = compiled.kind is np.float32
    parts = [rng.uniform(low, high, 60_000), rng.uniform(max(low, -1), min(high, 1), 30_000)]
    parts.append(np.exp(rng.uniform(-30, 0, 20_000)) * rng.choice([-1, 1], 20_000))
    if name in ("SIN", "COS", "TAN"):
        turns = rng.integers(-40_000, 40_000, 30_000)
        parts += [turns * (np.pi / 2), rng.uniform(-65536, 65536, 30_000)]
        parts += [] if single else [rng.uniform(-1e9, 1e9, 30_000), turns * (8192 * np.pi)]
    if name in ("EXP", "SINH", "COSH") and not single:
        parts.append(rng.uniform(-709, 709, 30_000))
    x = np.concatenate(parts).astype(compiled.kind)
    pair = [x]
    if name in ("POW", "CONSTPOW"):
        pair = [np.abs(x), rng.normal(size=len(x)).astype(compiled.kind) * 5]
    elif name in PAIRED:
        pair.append(rng.permutation(x))
    wanted = EXTENDED[name](*(a.astype(np.float64 if single else np.longdouble) for a in pair))
    coarse = not single and np.finfo(np.longdouble).nmant < 60
    check(compiled(name, *pair), wanted, allowed(name, compiled.kind, float(coarse)), *pair)


@pytest.mark.parametrize("name", ["FMOD", "REMAINDER"])
def test_remainders_are_exact_next_to_multiples_and_ties(compiled: Compiled, name: str) -> None:
    rng = np.random.default_rng(4)
    y = (rng.normal(size=40_000) * np.exp(rng.normal(size=40_000) * 9)).astype(compiled.kind)
    steps = np.floor(np.exp(rng.uniform(-1, 16, 40_000))) + rng.choice([0, 0.5, 0.3], 40_000)
    x = (y * steps * rng.choice([-1, 1], 40_000)).astype(compiled.kind)
    x = np.nextafter(x, x * rng.choice([0.5, 1, 2], 40_000).astype(compiled.kind))
    y[:2000] = x[:2000]
    tiny = np.finfo(compiled.kind).smallest_subnormal
    y[2000:4000] = rng.integers(1, 99, 2000) * tiny
    x[2000:4000] = rng.integers(-999, 999, 2000) * tiny
    check(compiled(name, x, y), casadi(name, x, y), 0, x, y)


def test_sine_and_cosine_together_are_those_apart(compiled: Compiled) -> None:
    x = np.random.default_rng(2).normal(size=10_000).astype(compiled.kind) * 1e4
    s, c = compiled("ONLY_SIN", x), compiled("ONLY_COS", x)
    assert same(s, compiled("SIN", x)).all()
    assert same(c, compiled("COS", x)).all()
    np.testing.assert_allclose(s**2 + c**2, 1, rtol=4 * np.finfo(x.dtype).eps)


def test_tanh_is_odd_and_bounded(compiled: Compiled) -> None:
    x = np.linspace(-30, 30, 200_001).astype(compiled.kind)
    y = compiled("TANH", x)
    assert same(compiled("TANH", -x), -y).all()
    assert np.abs(y).max() == 1
    assert np.diff(y).min() >= -2 * np.finfo(x.dtype).eps


def test_exact_points(compiled: Compiled) -> None:
    zero, one = np.zeros(1, compiled.kind), np.ones(1, compiled.kind)
    assert compiled("EXP", zero) == compiled("COS", zero) == compiled("COSH", zero) == 1
    assert compiled("LOG", one) == compiled("ACOS", one) == compiled("ACOSH", one) == 0


@pytest.mark.parametrize(("precision", "width"), [("float32", 4), ("float64", 2)])
def test_results_do_not_depend_on_the_width(precision: Precision, width: int) -> None:
    narrow, wide = Compiled(precision, width), Compiled(precision, WIDTH[precision])
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=1001).astype(narrow.kind) * 3 for _ in range(2))
    for name in FUNCTIONS:
        given = (x, y) if name in PAIRED else (x,)
        assert same(narrow(name, *given), wide(name, *given)).all(), name
