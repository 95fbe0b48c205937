"""Numbers of a file in SI units and radians: value · factor + offset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

Unit: TypeAlias = float | tuple[float, float] | str

# unit of the file: what it becomes, factor, offset
UNITS: Mapping[str, tuple[str, float, float]] = {
    "deg": ("rad", math.pi / 180, 0.0),
    "deg/s": ("rad/s", math.pi / 180, 0.0),
    "deg/s²": ("rad/s²", math.pi / 180, 0.0),
    "rev": ("rad", 2 * math.pi, 0.0),
    "rev/s": ("rad/s", 2 * math.pi, 0.0),
    "rpm": ("rad/s", 2 * math.pi / 60, 0.0),
    "mm": ("m", 1e-3, 0.0),
    "cm": ("m", 1e-2, 0.0),
    "mm/s": ("m/s", 1e-3, 0.0),
    "km/h": ("m/s", 1 / 3.6, 0.0),
    "mN m": ("N m", 1e-3, 0.0),
    "kN": ("N", 1e3, 0.0),
    "mV": ("V", 1e-3, 0.0),
    "mA": ("A", 1e-3, 0.0),
    "bar": ("Pa", 1e5, 0.0),
    "kPa": ("Pa", 1e3, 0.0),
    "degC": ("K", 1.0, 273.15),
    "%": ("", 1e-2, 0.0),
    "min": ("s", 60.0, 0.0),
    "ms": ("s", 1e-3, 0.0),
    "us": ("s", 1e-6, 0.0),
    "ns": ("s", 1e-9, 0.0),
}


def conversion(signal: str, given: Unit, unit: str) -> tuple[float, float]:
    """Factor and offset of `units[signal]`, for a signal that is in `unit`.

    Raises ValueError for a name that is not known or that becomes another unit than the
    signal's, and for a factor that is 0 or not finite.
    """
    if isinstance(given, str):
        if given not in UNITS:
            raise ValueError(
                f"units[{signal!r}] is {given!r}; known are {list(UNITS)}, or give a factor, or "
                f"(factor, offset)"
            )
        becomes, factor, offset = UNITS[given]
        if unit and _plain(unit) != _plain(becomes):
            raise ValueError(
                f"units[{signal!r}] is {given!r}, which becomes {becomes or 'a plain number'}, "
                f"but the signal is in {unit}"
            )
        return factor, offset
    try:
        factor, offset = given if isinstance(given, tuple) else (given, 0.0)
        factor, offset = float(factor), float(offset)
    except (TypeError, ValueError):
        raise ValueError(
            f"units[{signal!r}] must be a factor, (factor, offset) or a name, got {given!r}"
        ) from None
    if factor == 0 or not (math.isfinite(factor) and math.isfinite(offset)):
        raise ValueError(f"units[{signal!r}] needs finite numbers, factor not 0, got {given!r}")
    return factor, offset


def _plain(unit: str) -> str:
    plain = unit.replace("·", "").replace("*", "").replace(" ", "").replace("^2", "²")
    return "" if plain == "1" else plain
