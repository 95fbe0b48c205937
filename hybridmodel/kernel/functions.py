"""CasADi's scalar operations on vectors, with CasADi's values for NaN, ∞, −0 and denormal numbers.

Largest error in units in the last place, over dense ranges and random bits of all exponents:

    |                 | float32 | float64 |          |                 | float32 | float64 |
    |-----------------|---------|---------|          |-----------------|---------|---------|
    | exp             | 0.9     | 1.0     |          | asin            | 1.9     | 2.2     |
    | log             | 0.9     | 0.9     |          | acos            | 1.2     | 1.2     |
    | expm1           | 1.6     | 2.1     |          | atan, atan2     | 2.1     | 2.5     |
    | log1p           | 1.4     | 1.4     |          | asinh           | 1.9     | 1.9     |
    | sin, cos        | 1.6     | 1.5     |          | acosh           | 1.9     | 2.1     |
    | tan             | 3.4     | 3.0     |          | atanh           | 1.8     | 1.8     |
    | tanh            | 2.5     | 2.6     |          | erf             | 1.7     | 2.6     |
    | sinh            | 2.1     | 2.5     |          | erfinv          | 0.6     | 1.2     |
    | cosh            | 1.4     | 1.3     |          | hypot           | 1.2     | 1.2     |
    | pow             | 0.6     | 1.0     |          | all others      | 0.5     | 0.5     |

fmod and remainder are exact. CasADi's own erfinv is right to 4 to 16 digits only, so that one is
not followed. In float32 the reference is the float64 result, rounded. Results do not depend on the
width of a vector, nor on the machine where the C library is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hybridmodel.kernel.functions_bits import in_double
from hybridmodel.kernel.functions_circular import acos, asin, atan, atan2, cos, sin, sincos, tan
from hybridmodel.kernel.functions_division import fmod, remainder
from hybridmodel.kernel.functions_error import erf, erfinv
from hybridmodel.kernel.functions_exponential import cosh, exp, expm1, sinh, tanh
from hybridmodel.kernel.functions_logarithm import acosh, asinh, atanh, log, log1p
from hybridmodel.kernel.functions_power import power
from hybridmodel.kernel.lanes import Lanes, Value

__all__ = ["FUNCTIONS", "sincos"]


def _sign(lanes: Lanes, x: Value) -> Value:
    zero, one = lanes.constant(0.0), lanes.constant(1.0)
    positive = lanes.select(lanes.compare(">", x, zero), one, x)  # 0, −0 and NaN are themselves
    return lanes.select(lanes.compare("<", x, zero), lanes.constant(-1.0), positive)


# fmin(NaN, 1) = 1, and of two equal zeros the first


def _fmin(lanes: Lanes, x: Value, y: Value) -> Value:
    smaller = lanes.select(lanes.compare("<", y, x), y, x)
    return lanes.select(lanes.is_nan(x), y, smaller)


def _fmax(lanes: Lanes, x: Value, y: Value) -> Value:
    larger = lanes.select(lanes.compare(">", y, x), y, x)
    return lanes.select(lanes.is_nan(x), y, larger)


def _hypot(lanes: Lanes, x: Value, y: Value) -> Value:
    """√(x² + y²), from the C library where a square leaves the range of numbers."""
    a, b = lanes.abs(x), lanes.abs(y)
    usual = lanes.sqrt(lanes.fma(a, a, lanes.mul(b, b)))
    high, low = (lanes.constant(c) for c in ((1e150, 1e-140) if lanes.double else (1e18, 1e-15)))
    larger = lanes.select(lanes.compare(">", a, b), a, b)
    either, both = lanes.builder.or_, lanes.builder.and_
    small = both(lanes.compare("<", larger, low), lanes.compare(">", larger, lanes.constant(0.0)))
    large = either(lanes.compare(">", a, high), lanes.compare(">", b, high))
    return lanes.unless(either(small, large), usual, lambda: lanes.library("hypot", x, y))


def _nonzero(lanes: Lanes, x: Value) -> Value:
    return lanes.differs(x, lanes.constant(0.0))


def _zero(lanes: Lanes, x: Value) -> Value:
    return lanes.compare("==", x, lanes.constant(0.0))


FUNCTIONS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "ADD": lambda lanes, x, y: lanes.add(x, y),
        "SUB": lambda lanes, x, y: lanes.sub(x, y),
        "MUL": lambda lanes, x, y: lanes.mul(x, y),
        "DIV": lambda lanes, x, y: lanes.div(x, y),
        "NEG": lambda lanes, x: lanes.neg(x),
        "SQ": lambda lanes, x: lanes.mul(x, x),
        "TWICE": lambda lanes, x: lanes.add(x, x),
        "INV": lambda lanes, x: lanes.div(lanes.constant(1.0), x),
        "ASSIGN": lambda lanes, x: x,
        "LIFT": lambda lanes, x, y: x,
        "PRINTME": lambda lanes, x, y: x,
        "EXP": exp,
        "LOG": log,
        "EXPM1": expm1,
        "LOG1P": log1p,
        "SQRT": lambda lanes, x: lanes.sqrt(x),
        "SIN": sin,
        "COS": cos,
        "TAN": tan,
        "ASIN": asin,
        "ACOS": acos,
        "ATAN": atan,
        "SINH": sinh,
        "COSH": cosh,
        "TANH": tanh,
        "ASINH": asinh,
        "ACOSH": acosh,
        "ATANH": atanh,
        "ERF": erf,
        "ERFINV": lambda lanes, x: in_double(lanes, erfinv, x),
        "FABS": lambda lanes, x: lanes.abs(x),
        "SIGN": _sign,
        "FLOOR": lambda lanes, x: lanes.floor(x),
        "CEIL": lambda lanes, x: lanes.ceil(x),
        "POW": power,
        "CONSTPOW": power,
        "ATAN2": atan2,
        "HYPOT": _hypot,
        "FMIN": _fmin,
        "FMAX": _fmax,
        "FMOD": fmod,
        "REMAINDER": remainder,
        "COPYSIGN": lambda lanes, x, y: lanes.copysign(x, y),
        "LT": lambda lanes, x, y: lanes.truth(lanes.compare("<", x, y)),
        "LE": lambda lanes, x, y: lanes.truth(lanes.compare("<=", x, y)),
        "EQ": lambda lanes, x, y: lanes.truth(lanes.compare("==", x, y)),
        "NE": lambda lanes, x, y: lanes.truth(lanes.differs(x, y)),
        "NOT": lambda lanes, x: lanes.truth(_zero(lanes, x)),
        "AND": lambda lanes, x, y: lanes.truth(
            lanes.builder.and_(_nonzero(lanes, x), _nonzero(lanes, y))
        ),
        "OR": lambda lanes, x, y: lanes.truth(
            lanes.builder.or_(_nonzero(lanes, x), _nonzero(lanes, y))
        ),
        "IF_ELSE_ZERO": lambda lanes, x, y: lanes.select(_zero(lanes, x), lanes.constant(0.0), y),
    }
)
