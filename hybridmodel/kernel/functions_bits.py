"""Numbers bit by bit: what the functions on vectors share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hybridmodel.kernel.lanes import Lanes, Value

# ln 2 to twice the precision
LN2 = {
    False: (0.6931471824645996, -1.904654299957768e-09),
    True: (0.6931471805599453, 2.3190468138462996e-17),
}


def layout(lanes: Lanes) -> tuple[int, int]:
    """Bits of the mantissa, and the bits of 1."""
    return (52, 1023 << 52) if lanes.double else (23, 127 << 23)


def magic(lanes: Lanes) -> float:
    """A number whose unit in the last place is 1, with room on both sides."""
    return 1.5 * 2.0 ** layout(lanes)[0]


def at_most(lanes: Lanes, x: Value, limit: float) -> Value:
    """min(x, limit), NaN kept."""
    top = lanes.constant(limit)
    return lanes.select(lanes.compare("<", top, x), top, x)


def between(lanes: Lanes, x: Value, low: float, high: float) -> Value:
    """x limited to [low, high], NaN kept."""
    bottom = lanes.constant(low)
    return at_most(lanes, lanes.select(lanes.compare(">", bottom, x), bottom, x), high)


def rounded(lanes: Lanes, x: Value, factor: float) -> tuple[Value, Value]:
    """n = the nearest whole number to factor·x, and bits whose last are those of n."""
    shift = lanes.constant(magic(lanes))
    total = lanes.fma(x, lanes.constant(factor), shift)
    return lanes.sub(total, shift), lanes.bits(total)


def power_of_two(lanes: Lanes, bits: Value, plus: int = 0) -> Value:
    """2ⁿ⁺ᵖˡᵘˢ, which has to be a normal number, from bits whose last are those of n."""
    mantissa, ones = layout(lanes)
    shifted = lanes.builder.shl(bits, lanes.whole(mantissa))
    return lanes.from_bits(lanes.builder.add(shifted, lanes.whole(ones + (plus << mantissa))))


def in_double(lanes: Lanes, function: Callable[..., Value], *arguments: Value) -> Value:
    """A function's float64 result, rounded to the precision."""
    if lanes.double:
        return function(lanes, *arguments)
    wide = Lanes(lanes.module, lanes.builder, replace(lanes.shape, precision="float64"))
    given = [lanes.builder.fpext(a, wide.vector) for a in arguments]
    return lanes.builder.fptrunc(function(wide, *given), lanes.vector)
