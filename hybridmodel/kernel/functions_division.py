"""Remainders of a division on vectors: fmod and IEEE 754's remainder, both exact.

    a = |x|, b = |y|,  n = ⌊a/b⌋,  r = a − n b ∈ [0, b)

a/b is rounded, so n may be one too large; then r is negative, and still exact. A quotient too large
to be a whole number, or not finite, takes the C library.
"""

from __future__ import annotations

import math

from hybridmodel.kernel.lanes import Lanes, Value


def fmod(lanes: Lanes, x: Value, y: Value) -> Value:
    """x − n y for n = x/y rounded towards 0, with the sign of x."""
    rare, _, r = _divided(lanes, x, y)
    return lanes.unless(rare, lanes.copysign(r, x), lambda: lanes.library("fmod", x, y))


def remainder(lanes: Lanes, x: Value, y: Value) -> Value:
    """x − n y for the n nearest to x/y, ties to even."""
    b = lanes.builder
    rare, n, r = _divided(lanes, x, y)
    rest = lanes.sub(lanes.abs(y), r)
    half = lanes.mul(n, lanes.constant(0.5))
    odd = lanes.differs(half, lanes.floor(half))
    up = b.or_(lanes.compare(">", r, rest), b.and_(lanes.compare("==", r, rest), odd))
    signed = lanes.select(up, lanes.neg(rest), r)
    sign = b.and_(lanes.bits(x), lanes.whole(1 << (lanes.integer.width - 1)))
    usual = lanes.from_bits(b.xor(lanes.bits(signed), sign))
    return lanes.unless(rare, usual, lambda: lanes.library("remainder", x, y))


def _divided(lanes: Lanes, x: Value, y: Value) -> tuple[Value, Value, Value]:
    """Where this does not hold, n and r."""
    a, b = lanes.abs(x), lanes.abs(y)
    zero, one = lanes.constant(0.0), lanes.constant(1.0)
    quotient = lanes.div(a, b)
    whole = lanes.compare("<", quotient, lanes.constant(2.0**51 if lanes.double else 2.0**22))
    rare = lanes.builder.not_(
        lanes.builder.and_(whole, lanes.compare("<", b, lanes.constant(math.inf)))
    )
    n = lanes.floor(quotient)
    r = lanes.fma(lanes.neg(n), b, a)
    over = lanes.compare("<", r, zero)
    n = lanes.select(over, lanes.sub(n, one), n)
    return rare, n, lanes.select(over, lanes.add(r, b), r)
