"""Rates of a log that has positions only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.data.differentiation import Derivative, Method, differentiate
from hybridmodel.data.resample import unwrap
from hybridmodel.data.table import Table
from hybridmodel.data.units import Unit, conversion
from physics import System


@dataclass(frozen=True, eq=False)
class DerivedRates:
    """A table with the rate columns it lacked, and how each was derived.

    table           for `read_log`; a new column bears the name of its signal
    rates[signal]   the Derivative of its position, with noise gain and method
    """

    table: Table
    rates: Mapping[str, Derivative]

    def __str__(self) -> str:
        if not self.rates:
            return "every rate has a column, none was derived"
        return "; ".join(
            f"{name}: {d.method}, noise gain {d.noise_gain:.3g} 1/s, about "
            f"{d.noise_gain * d.noise:.2g} of noise"
            for name, d in self.rates.items()
        )


def derive_rates(
    table: Table,
    system: System,
    *,
    columns: Mapping[str, str | float] | None = None,
    units: Mapping[str, Unit] | None = None,
    method: Method = "savitzky_golay",
    window: int | None = None,
    cutoff: float | None = None,
) -> DerivedRates:
    """Fill the outputs with `rate_of` whose columns the table lacks, from their positions.

    `columns` and `units` as for `read_log`, which must not convert what is derived here: rates
    come out in SI units, per unit of the position's signal. `method`, `window` and `cutoff` as
    for `differentiate`. Samples missing in a position are missing in its rate.

    Raises ValueError where a position has no column either, is a rotation, or misses samples so
    that its turn is not known.
    """
    columns, units = dict(columns or {}), dict(units or {})
    outputs = {signal.name: signal for signal in system.outputs}
    values, clocks = dict(table.values), dict(table.clocks)
    rates: dict[str, Derivative] = {}
    for name, signal in outputs.items():
        if signal.rate_of is None or name in columns or name in table.header:
            continue
        position = outputs.get(signal.rate_of)
        if position is None:
            raise ValueError(
                f"{name!r} has no column and is the rate of {signal.rate_of!r}, which is no output "
                f"to differentiate; outputs are {[*outputs]}"
            )
        column = columns.get(position.name, position.name)
        if not isinstance(column, str):
            raise ValueError(f"columns[{position.name!r}] is the number {column}: it has no rate")
        y, t = table.column(column), table.stamps(column)
        factor, offset = 1.0, 0.0
        if position.name in units:
            factor, offset = conversion(position.name, units[position.name], position.unit)
        ticks = conversion("time", units["time"], "s")[0] if "time" in units else 1.0
        y = y * factor + offset
        if position.angle:
            turned = unwrap(y, t * ticks)
            if turned.unsure is not None:
                raise ValueError(
                    f"{table.place(turned.unsure)}: the samples missing before it in column "
                    f"{column!r} leave open how far it has turned; cut the log there"
                )
            y = turned.values
        there = np.isfinite(y)
        derived = differentiate(
            t[there] * ticks, y[there], method=method, window=window, cutoff=cutoff
        )
        full = np.full(len(y), np.nan)
        full[there] = derived.derivative
        values[name] = full
        if column in table.clocks:
            clocks[name] = t
        rates[name] = derived
    return DerivedRates(
        replace(table, header=(*table.header, *rates), values=values, clocks=clocks), rates
    )
