"""xʸ on vectors: e^(y log x) with the logarithm as a sum of two numbers.

    log x = k ln 2 + 2 (s + s³ (1/3 + s² t(s²))),  s = f/(2 + f),  x = 2ᵏ (1 + f)

t is a minimax polynomial; a sum or product that loses digits is followed by what it lost, so the
logarithm keeps some 64 digits and its product with y all of float64's. Zeros, negative and infinite
numbers take the C library. Largest errors are in `hybridmodel.kernel.functions`.

Sums and products with their errors: T. J. Dekker, A floating-point technique for extending the
available precision, Numer. Math. 18, 1971.
"""

from __future__ import annotations

import math

from hybridmodel.kernel.functions_bits import between, in_double
from hybridmodel.kernel.functions_exponential import exp
from hybridmodel.kernel.functions_logarithm import log, parted
from hybridmodel.kernel.lanes import Lanes, Value

# ((artanh(s)/s − 1)/s² − 1/3)/s² in s², error of artanh: 1.2e-20, relative
_T = (
    0.06605741168758675,
    0.06627613495585427,
    0.07693411834610674,
    0.09090891487150089,
    0.11111111267621233,
    0.1428571428500874,
    0.20000000000001208,
)
_THIRD = (1 / 3, 1.850371707708594e-17)  # to twice float64
_LN2 = (0.6931471805601177, -1.7239444525614835e-13)  # k times the first is exact


def power(lanes: Lanes, x: Value, y: Value) -> Value:
    """xʸ with the special values of C."""
    usual = _power(lanes, x, y) if lanes.double else in_double(lanes, _plain, x, y)
    both = lanes.builder.and_
    inside = both(
        lanes.compare(">", x, lanes.constant(0.0)), lanes.compare("<", x, lanes.constant(math.inf))
    )
    inside = both(inside, lanes.compare("<", lanes.abs(y), lanes.constant(2.0**60)))
    return lanes.unless(lanes.builder.not_(inside), usual, lambda: lanes.library("pow", x, y))


def _plain(lanes: Lanes, x: Value, y: Value) -> Value:
    """e^(y log x): right where the result is float32."""
    return exp(lanes, lanes.mul(y, log(lanes, x)))


def _power(lanes: Lanes, x: Value, y: Value) -> Value:
    high, low = _logarithm(lanes, x)
    exponent = lanes.mul(y, high)
    tail = lanes.fma(y, low, lanes.fma(y, high, lanes.neg(exponent)))
    return exp(lanes, exponent, between(lanes, tail, -1e-9, 1e-9))  # large only beyond exp's range


def _logarithm(lanes: Lanes, x: Value) -> tuple[Value, Value]:
    """log x of a positive number as a sum."""
    add, sub, mul, fma = lanes.add, lanes.sub, lanes.mul, lanes.fma
    one, two = lanes.constant(1.0), lanes.constant(2.0)
    third, third_low = (lanes.constant(c) for c in _THIRD)
    k, f = parted(lanes, x)
    d = add(f, two)
    inverse = lanes.div(one, d)
    s = mul(f, inverse)
    rest = fma(lanes.neg(s), d, f)
    rest = fma(lanes.neg(s), sub(f, sub(d, two)), rest)
    s_low = mul(rest, inverse)
    z = mul(s, s)
    z_low = fma(mul(s, two), s_low, fma(s, s, lanes.neg(z)))
    t = mul(z, lanes.horner(z, _T))
    u = add(third, t)
    u_low = add(add(sub(third, u), t), third_low)
    v = mul(z, u)
    v_low = fma(z_low, u, fma(z, u_low, fma(z, u, lanes.neg(v))))
    m = mul(s, v)
    m_low = fma(s_low, v, fma(s, v_low, fma(s, v, lanes.neg(m))))
    a = add(s, m)
    a_low = add(add(add(sub(s, a), m), m_low), s_low)
    whole, whole_low = mul(k, lanes.constant(_LN2[0])), mul(k, lanes.constant(_LN2[1]))
    a = add(a, a)
    total = add(whole, a)
    return total, add(add(sub(whole, total), a), fma(a_low, two, whole_low))
