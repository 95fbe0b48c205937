"""Exponentials on vectors: exp, expm1, tanh, sinh, cosh.

    x = n ln 2 + r,  |r| ≤ ln 2 / 2,    eˣ − 1 = 2ⁿ (eʳ − 1) + (2ⁿ − 1),    eʳ − 1 = r + r² q(r)

q is a minimax polynomial in relative error of eʳ − 1. Nothing branches, so the price of a vector
never depends on its numbers. Largest errors are in `hybridmodel.kernel.functions`.

Reduction: W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980, ch. 6.
"""

from __future__ import annotations

import math

from hybridmodel.kernel.functions_bits import LN2, at_most, between, power_of_two, rounded
from hybridmodel.kernel.lanes import Lanes, Value

# (eʳ − 1 − r)/r², error of eʳ − 1: 1.3e-8 and 1.8e-17, relative
_Q = {
    False: (0.00138825143, 0.00836664718, 0.0416672044, 0.16666542, 0.49999997),
    True: (
        2.5053759861460105e-08,
        2.762629845697184e-07,
        2.755740827959814e-06,
        2.4801504651349326e-05,
        0.0001984126971754113,
        0.00138888889320508,
        0.008333333333390439,
        0.04166666666657539,
        0.16666666666666588,
        0.5000000000000006,
    ),
}
# (tanh r − r)/r³ in r², |r| ≤ ln 2 / 4, error of tanh r: 5.6e-8 and 4.2e-18, relative
_T = {
    False: (0.131099612, -0.333312601),
    True: (
        0.0034443431025892994,
        -0.008857268925639051,
        0.02186936953313621,
        -0.05396825276631303,
        0.13333333332774794,
        -0.3333333333333247,
    ),
}


def exp(lanes: Lanes, x: Value, tail: Value | None = None) -> Value:
    """eˣ: ∞ beyond the largest number, gradual underflow below.

    `tail` is what x is short of the true argument, where that is known to more digits.
    """
    x = between(lanes, x, *((-746.0, 710.0) if lanes.double else (-104.5, 89.0)))
    n, bits, r = _reduced(lanes, x)
    r = r if tail is None else lanes.add(r, tail)
    y = lanes.horner(r, (*_Q[lanes.double], 1.0, 1.0))
    # 2ⁿ in two factors, for it may be no normal number
    _, half = rounded(lanes, n, 0.5)
    y = lanes.mul(y, power_of_two(lanes, half))
    return lanes.mul(y, power_of_two(lanes, lanes.builder.sub(bits, half)))


def expm1(lanes: Lanes, x: Value) -> Value:
    """eˣ − 1, accurate to its last bits near 0 too."""
    _, bits, r = _reduced(
        lanes, between(lanes, x, *((-40.0, 710.0) if lanes.double else (-20.0, 89.0)))
    )
    half = power_of_two(lanes, bits, -1)  # 2ⁿ itself may be too large
    y = lanes.fma(half, _grown(lanes, r), lanes.sub(half, lanes.constant(0.5)))
    y = lanes.add(y, y)
    tiny = lanes.compare("<", lanes.abs(x), lanes.constant(2.0**-54 if lanes.double else 2.0**-25))
    return lanes.select(tiny, x, y)


def tanh(lanes: Lanes, x: Value) -> Value:
    """tanh x = ((2ⁿ − 1) + (2ⁿ + 1) T)/((2ⁿ + 1) + (2ⁿ − 1) T), T = tanh r, 2x = n ln 2 + 2r."""
    one = lanes.constant(1.0)
    a = at_most(lanes, lanes.abs(x), 19.1 if lanes.double else 9.1)  # 1 from there on
    n, bits = rounded(lanes, a, 2 / math.log(2))
    # ln 2 to one number will do: where n is large, tanh is flat
    r = lanes.fma(n, lanes.constant(-LN2[lanes.double][0] / 2), a)
    z = lanes.mul(r, r)
    t = lanes.fma(lanes.mul(r, z), lanes.horner(z, _T[lanes.double]), r)
    scale = power_of_two(lanes, bits)
    less, more = lanes.sub(scale, one), lanes.add(scale, one)
    y = lanes.div(lanes.fma(more, t, less), lanes.fma(less, t, more))
    return lanes.copysign(y, x)


def sinh(lanes: Lanes, x: Value) -> Value:
    """sinh x = h + h/(2h + 1), h = (e^|x| − 1)/2, with the sign of x."""
    a = at_most(lanes, lanes.abs(x), 710.7 if lanes.double else 89.5)
    _, bits, r = _reduced(lanes, a)
    quarter = power_of_two(lanes, bits, -2)
    h = lanes.fma(quarter, _grown(lanes, r), lanes.sub(quarter, lanes.constant(0.25)))
    h = lanes.add(h, h)
    limited = at_most(lanes, h, 2.0**60)  # h/(2h + 1) is ½ beyond, and stays a number
    rest = lanes.div(limited, lanes.fma(limited, lanes.constant(2.0), lanes.constant(1.0)))
    y = lanes.copysign(lanes.add(h, rest), x)
    tiny = lanes.compare("<", a, lanes.constant(2.0**-27 if lanes.double else 2.0**-13))
    return lanes.select(tiny, x, y)


def cosh(lanes: Lanes, x: Value) -> Value:
    """cosh x = w + 1/(4w), w = e^|x|/2."""
    a = at_most(lanes, lanes.abs(x), 710.7 if lanes.double else 89.5)
    _, bits, r = _reduced(lanes, a)
    y = lanes.horner(r, (*_Q[lanes.double], 1.0, 1.0))
    w = lanes.mul(y, power_of_two(lanes, bits, -2))
    w = lanes.add(w, w)
    return lanes.add(w, lanes.div(lanes.constant(0.25), w))


def _reduced(lanes: Lanes, x: Value) -> tuple[Value, Value, Value]:
    """n, bits whose last are those of n, and r."""
    n, bits = rounded(lanes, x, 1 / math.log(2))
    for part in LN2[lanes.double]:
        x = lanes.fma(n, lanes.constant(-part), x)
    return n, bits, x


def _grown(lanes: Lanes, r: Value) -> Value:
    """eʳ − 1."""
    return lanes.fma(lanes.mul(r, r), lanes.horner(r, _Q[lanes.double]), r)
