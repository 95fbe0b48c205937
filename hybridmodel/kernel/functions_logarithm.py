"""Logarithms on vectors: log, log1p, asinh, acosh, atanh.

    x = 2ᵏ (1 + f),  ½ ≤ (1 + f)² < 2,  s = f/(2 + f),
    log x = k ln 2 + f − f²/2 + s (f²/2 + s² p(s²))

p is a minimax polynomial in relative error of the logarithm. Largest errors are in
`hybridmodel.kernel.functions`.

Reduction: W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980, ch. 5.
"""

from __future__ import annotations

import math

from hybridmodel.kernel.functions_bits import LN2, layout
from hybridmodel.kernel.lanes import Lanes, Value

# (2 artanh(s)/s − 2)/s² in s², error of the logarithm: 1.8e-9 and 2.9e-18, relative
_P = {
    False: (0.298986226, 0.399766147, 0.666667819),
    True: (
        0.1482711601125846,
        0.1531107633784749,
        0.18183674651341158,
        0.2222219657404269,
        0.28571428760549866,
        0.3999999999933959,
        0.6666666666666745,
    ),
}


def log(lanes: Lanes, x: Value) -> Value:
    """Natural logarithm: −∞ at ±0, NaN below."""
    k, f = parted(lanes, x)
    return _edges(lanes, x, _logarithm(lanes, k, f))


def log1p(lanes: Lanes, x: Value) -> Value:
    """log(1 + x), accurate to its last bits near 0 too."""
    one = lanes.constant(1.0)
    u = lanes.add(one, x)
    back = lanes.sub(u, one)
    lost = lanes.sub(one, lanes.sub(u, back))
    lost = lanes.add(lost, lanes.sub(x, back))  # 1 + x − u, exactly
    k, f, scale = _parts(lanes, u)
    large = lanes.compare(">", u, lanes.constant(2.0**60))  # where 2⁻ᵏ may be no normal number
    shift = lanes.select(large, lanes.constant(0.0), lanes.mul(lost, scale))
    y = _edges(lanes, u, _logarithm(lanes, k, lanes.add(f, shift)))
    return lanes.select(lanes.compare("==", x, lanes.constant(0.0)), x, y)


def asinh(lanes: Lanes, x: Value) -> Value:
    """log1p(a + a²/(1 + √(1 + a²))), a = |x|, with the sign of x."""
    one, a = lanes.constant(1.0), lanes.abs(x)
    root = lanes.sqrt(lanes.fma(a, a, one))
    ratio = lanes.div(a, lanes.add(one, root))
    y = lanes.copysign(log1p(lanes, lanes.fma(a, ratio, a)), x)
    huge = lanes.compare(">", a, lanes.constant(1e150 if lanes.double else 1e18))
    return lanes.unless(huge, y, lambda: lanes.library("asinh", x))


def acosh(lanes: Lanes, x: Value) -> Value:
    """log1p(t + √(t (t + 2))), t = x − 1; NaN below 1."""
    one = lanes.constant(1.0)
    t = lanes.sub(x, one)
    root = lanes.sqrt(lanes.mul(t, lanes.add(t, lanes.constant(2.0))))
    y = log1p(lanes, lanes.add(t, root))
    y = lanes.select(lanes.compare("<", x, one), lanes.constant(math.nan), y)
    huge = lanes.compare(">", x, lanes.constant(1e150 if lanes.double else 1e18))
    return lanes.unless(huge, y, lambda: lanes.library("acosh", x))


def atanh(lanes: Lanes, x: Value) -> Value:
    """log1p(2a + 2a²/(1 − a))/2, a = |x|, with the sign of x; NaN beyond ±1."""
    one, a = lanes.constant(1.0), lanes.abs(x)
    twice, rest = lanes.add(a, a), lanes.sub(one, a)
    near = lanes.fma(twice, lanes.div(a, rest), twice)
    far = lanes.div(twice, rest)
    inner = lanes.select(lanes.compare("<", a, lanes.constant(0.5)), near, far)
    y = lanes.mul(log1p(lanes, inner), lanes.constant(0.5))
    tiny = lanes.compare("<", a, lanes.constant(2.0**-28 if lanes.double else 2.0**-13))
    return lanes.select(tiny, x, lanes.copysign(y, x))


def parted(lanes: Lanes, x: Value) -> tuple[Value, Value]:
    """k and f of a positive number."""
    up = layout(lanes)[0] + 2  # denormal numbers are made normal
    small = lanes.compare("<", x, lanes.constant(2.0**-1022 if lanes.double else 2.0**-126))
    normal = lanes.select(small, lanes.mul(x, lanes.constant(2.0**up)), x)
    k, f, _ = _parts(lanes, normal)
    return lanes.sub(k, lanes.select(small, lanes.constant(up), lanes.constant(0.0))), f


def _parts(lanes: Lanes, x: Value) -> tuple[Value, Value, Value]:
    """k, f and 2⁻ᵏ of a positive normal number."""
    b = lanes.builder
    mantissa, ones = layout(lanes)
    root = 0x3FE6A09E667F3BCD if lanes.double else 0x3F3504F3  # √½
    moved = b.add(lanes.bits(x), lanes.whole(ones - root))
    exponent = b.lshr(moved, lanes.whole(mantissa))
    unit = 2.0**mantissa  # whole numbers become real ones in its last bits
    biased = b.or_(exponent, lanes.bits(lanes.constant(unit)))
    bias = ones >> mantissa
    k = lanes.sub(lanes.from_bits(biased), lanes.constant(unit + bias))
    rest = b.add(b.and_(moved, lanes.whole((1 << mantissa) - 1)), lanes.whole(root))
    f = lanes.sub(lanes.from_bits(rest), lanes.constant(1.0))
    inverse = b.sub(lanes.whole(2 * bias), exponent)
    return k, f, lanes.from_bits(b.shl(inverse, lanes.whole(mantissa)))


def _logarithm(lanes: Lanes, k: Value, f: Value) -> Value:
    """k ln 2 + log(1 + f)."""
    high, low = LN2[lanes.double]
    s = lanes.div(f, lanes.add(f, lanes.constant(2.0)))
    z = lanes.mul(s, s)
    half = lanes.mul(lanes.mul(f, lanes.constant(0.5)), f)
    inner = lanes.fma(z, lanes.horner(z, _P[lanes.double]), half)
    small = lanes.fma(s, inner, lanes.mul(k, lanes.constant(low)))
    rest = lanes.sub(f, lanes.sub(half, small))
    return lanes.fma(k, lanes.constant(high), rest)


def _edges(lanes: Lanes, x: Value, y: Value) -> Value:
    """log x = y but for x ≤ 0, ∞ and NaN."""
    zero, infinity = lanes.constant(0.0), lanes.constant(math.inf)
    y = lanes.select(lanes.compare("==", x, infinity), infinity, y)
    pole = lanes.compare("==", x, zero)
    none = lanes.select(pole, lanes.constant(-math.inf), lanes.constant(math.nan))
    return lanes.select(lanes.compare(">", x, zero), y, none)
