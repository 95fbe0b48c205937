"""Trigonometric functions on vectors and their inverses: sin, cos, tan, asin, acos, atan, atan2.

    x = n π/2 + r,  |r| ≤ π/4,  (sin x, cos x) is (sin r, cos r) turned by n right angles
    sin r = r + r³ S(r²),  cos r = 1 − r²/2 + r⁴ C(r²),  arcsin s = s + s³ R(s²),
    arctan t = t + t³ A(t²)

The multiple of π goes away in three products rounded once each; arguments too large for that take
the C library. S, C, R and A are minimax polynomials in relative error of the function. Largest
errors are in `hybridmodel.kernel.functions`.

Reductions: W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980, ch. 8–11.
"""

from __future__ import annotations

from fractions import Fraction
from math import frexp

from hybridmodel.kernel.functions_bits import rounded
from hybridmodel.kernel.lanes import Lanes, Value

_PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640629")
_REACH = {False: 65536.0, True: 2.0**30}  # largest |x| whose reduction keeps the stated error
# |r| ≤ 0.79: error of sin r 4.3e-9 and 3.9e-18, of cos r 1.3e-10 and 6.1e-20, relative
_S = {
    False: (-0.000195064378, 0.00833209604, -0.166666538),
    True: (
        1.5894319789650533e-10,
        -2.5050715584330813e-08,
        2.755731342123426e-06,
        -0.00019841269829029394,
        0.008333333333321442,
        -0.16666666666666627,
    ),
}
_C = {
    False: (2.44230487e-05, -0.0013887228, 0.0416666456),
    True: (
        -1.1357209524782724e-11,
        2.0875675654968215e-09,
        -2.7557313997460673e-07,
        2.4801587288235054e-05,
        -0.001388888888887209,
        0.04166666666666659,
    ),
}
# |s| ≤ 1/2: error of arcsin 5.0e-9 and 1.5e-17, relative
_R = {
    False: (0.042230159, 0.024141226, 0.0454782955, 0.0749523342, 0.166667536),
    True: (
        0.03198150762999219,
        -0.016326402977146447,
        0.01959413929496546,
        0.006503600868119564,
        0.012174922024041251,
        0.013884353774950226,
        0.017359795287809742,
        0.022371751962181007,
        0.030381959394421534,
        0.04464285682200335,
        0.07500000000344763,
        0.16666666666665375,
    ),
}
# |t| ≤ √2 − 1: error of arctan 6.6e-10 and 3.5e-17, relative
_A = {
    False: (-0.0608116426, 0.105951436, -0.142437398, 0.199984834, -0.333333164),
    True: (
        0.02126401882058306,
        -0.04359522058265675,
        0.05692719130387292,
        -0.0664116235670352,
        0.0769007388137685,
        -0.09090782872945871,
        0.11111106676315205,
        -0.14285714195891097,
        0.19999999999097462,
        -0.3333333333333019,
    ),
}


def sin(lanes: Lanes, x: Value) -> Value:
    return _reach(lanes, x, _both(lanes, x)[0], "sin")


def cos(lanes: Lanes, x: Value) -> Value:
    return _reach(lanes, x, _both(lanes, x)[1], "cos")


def sincos(lanes: Lanes, x: Value) -> tuple[Value, Value]:
    """(sin x, cos x) for little more than one of them."""
    s, c = _both(lanes, x)
    return _reach(lanes, x, s, "sin"), _reach(lanes, x, c, "cos")


def tan(lanes: Lanes, x: Value) -> Value:
    s, c = _both(lanes, x)
    return _reach(lanes, x, lanes.div(s, c), "tan")


def asin(lanes: Lanes, x: Value) -> Value:
    """arcsin x = π/2 − 2 arcsin √((1 − |x|)/2) beyond ½."""
    far, p = _arcsine(lanes, x)
    high, low = (lanes.constant(c) for c in _pieces(_PI / 2, 2, lanes.double))
    turned = lanes.add(lanes.fma(p, lanes.constant(-2.0), high), low)
    return lanes.copysign(lanes.select(far, turned, p), x)


def acos(lanes: Lanes, x: Value) -> Value:
    far, p = _arcsine(lanes, x)
    signed = lanes.copysign(p, x)
    half, rest = _pieces(_PI / 2, 2, lanes.double)
    near = lanes.sub(lanes.constant(half), lanes.sub(signed, lanes.constant(rest)))
    p = lanes.add(p, p)
    behind = lanes.sub(lanes.constant(2 * half), lanes.sub(p, lanes.constant(2 * rest)))
    beyond = lanes.select(lanes.compare("<", x, lanes.constant(0.0)), behind, p)
    return lanes.select(far, beyond, near)


def atan(lanes: Lanes, x: Value) -> Value:
    return lanes.copysign(_angle(lanes, lanes.abs(x), lanes.constant(1.0)), x)


def atan2(lanes: Lanes, y: Value, x: Value) -> Value:
    """Angle of (x, y) with the signs of zeros as in C."""
    a, b = lanes.abs(y), lanes.abs(x)
    angle = _angle(lanes, a, b)
    high, low = (lanes.constant(c) for c in _pieces(_PI, 2, lanes.double))
    behind = lanes.sub(high, lanes.sub(angle, low))
    left = lanes.builder.icmp_signed("<", lanes.bits(x), lanes.whole(0))
    angle = lanes.copysign(lanes.select(left, behind, angle), y)
    top = lanes.constant(1e300 if lanes.double else 1e37)  # a + b may overflow
    huge = lanes.builder.or_(lanes.compare(">", a, top), lanes.compare(">", b, top))
    return lanes.unless(huge, angle, lambda: lanes.library("atan2", y, x))


def _pieces(value: Fraction, count: int, double: bool) -> list[float]:
    """A number as a sum of float64 or float32 ones, each the nearest to what is left."""
    digits, pieces = 53 if double else 24, []
    for _ in range(count):
        unit = Fraction(2) ** (frexp(float(value))[1] - digits)
        pieces.append(float(round(value / unit) * unit))
        value -= Fraction(pieces[-1])
    return pieces


def _without(lanes: Lanes, x: Value, n: Value, period: Fraction) -> Value:
    """x − n·period."""
    for piece in _pieces(period, 3, lanes.double):
        x = lanes.fma(n, lanes.constant(-piece), x)
    return x


def _odd(lanes: Lanes, r: Value, table: dict[bool, tuple[float, ...]]) -> Value:
    """r + r³ P(r²)."""
    z = lanes.mul(r, r)
    return lanes.fma(lanes.mul(z, lanes.horner(z, table[lanes.double])), r, r)


def _both(lanes: Lanes, x: Value) -> tuple[Value, Value]:
    b = lanes.builder
    n, bits = rounded(lanes, x, float(2 / _PI))
    r = _without(lanes, x, n, _PI / 2)
    z = lanes.mul(r, r)
    s = _odd(lanes, r, _S)
    c = lanes.fma(z, lanes.horner(z, _C[lanes.double]), lanes.constant(-0.5))
    c = lanes.fma(z, c, lanes.constant(1.0))
    swapped = b.icmp_unsigned("!=", b.and_(bits, lanes.whole(1)), lanes.whole(0))
    s, c = lanes.select(swapped, c, s), lanes.select(swapped, s, c)
    place = lanes.integer.width - 2
    s = _turned(lanes, s, bits, place)
    c = _turned(lanes, c, b.add(bits, lanes.whole(1)), place)
    return lanes.select(_zero(lanes, x), x, s), c


def _turned(lanes: Lanes, y: Value, bits: Value, place: int) -> Value:
    """y with its sign changed where the bit is set that moves to the sign by `place`."""
    b = lanes.builder
    sign = b.and_(b.shl(bits, lanes.whole(place)), lanes.whole(1 << (lanes.integer.width - 1)))
    return lanes.from_bits(b.xor(lanes.bits(y), sign))


def _reach(lanes: Lanes, x: Value, y: Value, name: str) -> Value:
    far = lanes.compare(">", lanes.abs(x), lanes.constant(_REACH[lanes.double]))
    return lanes.unless(far, y, lambda: lanes.library(name, x))


def _zero(lanes: Lanes, x: Value) -> Value:
    return lanes.compare("==", x, lanes.constant(0.0))


def _arcsine(lanes: Lanes, x: Value) -> tuple[Value, Value]:
    """|x| > ½, and there arcsin √((1 − |x|)/2), elsewhere arcsin |x|."""
    a, half = lanes.abs(x), lanes.constant(0.5)
    far = lanes.compare(">", a, half)
    other = lanes.fma(a, lanes.constant(-0.5), half)
    z = lanes.select(far, other, lanes.mul(a, a))
    s = lanes.select(far, lanes.sqrt(other), a)
    return far, lanes.fma(lanes.mul(s, z), lanes.horner(z, _R[lanes.double]), s)


def _angle(lanes: Lanes, a: Value, b: Value) -> Value:
    """arctan(a/b) of a, b ≥ 0 with one division: about 0, π/4 or π/2; 0 where both are 0."""
    zero, one, two = (lanes.constant(c) for c in (0.0, 1.0, 2.0))
    near = lanes.compare("<=", a, lanes.mul(b, lanes.constant(2**0.5 - 1)))
    far = lanes.compare(">", a, lanes.mul(b, lanes.constant(2**0.5 + 1)))
    above = lanes.select(near, a, lanes.select(far, lanes.neg(b), lanes.sub(a, b)))
    below = lanes.select(near, b, lanes.select(far, a, lanes.add(a, b)))
    t = lanes.select(_zero(lanes, above), zero, lanes.div(above, below))
    eighths = lanes.select(near, zero, lanes.select(far, two, one))
    high, low = _pieces(_PI / 4, 2, lanes.double)
    rest = lanes.fma(eighths, lanes.constant(low), _odd(lanes, t, _A))
    return lanes.fma(eighths, lanes.constant(high), rest)
