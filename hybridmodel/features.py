"""What the network sees: z = φ(x, u, d).

angle      sin, cos            (turns do not matter)
rotation   the nine entries of its matrix   (q and −q are one rotation)
any other signal   itself
"""

from __future__ import annotations

from typing import Any

import casadi as ca

from physics import Signal, System, quaternion

Signals = tuple[Signal, ...]


def default_features(system: System) -> tuple[str, ...]:
    """All continuous states, inputs and exogenous signals; a quaternion under its own name."""
    return names((*system.states, *system.inputs, *system.exogenous))


def seen_by(system: System) -> Signals:
    """All signals that a feature may be made of."""
    return (*system.states, *system.memory, *system.inputs, *system.exogenous)


def names(signals: Signals) -> tuple[str, ...]:
    """One name a signal, and one a rotation."""
    return tuple(dict.fromkeys(s.quaternion or s.name for s in signals))


def features(signals: Signals, values: Any, chosen: tuple[str, ...]) -> Any:
    """z (nz,) of the chosen names, from one value for each signal."""
    columns: dict[str, Any] = {}
    for signal, value in zip(signals, ca.vertsplit(values), strict=True):
        if signal.quaternion is not None:
            so_far = columns.get(signal.quaternion, type(values)(0, 1))
            columns[signal.quaternion] = ca.vertcat(so_far, value)
        elif signal.angle:
            columns[signal.name] = ca.vertcat(ca.sin(value), ca.cos(value))
        else:
            columns[signal.name] = value
    for group in {s.quaternion for s in signals if s.quaternion is not None}:
        columns[group] = ca.vec(quaternion.rotation_matrix(columns[group]))
    return ca.vertcat(type(values)(0, 1), *(columns[name] for name in chosen))


def feature_signals(signals: Signals, chosen: tuple[str, ...]) -> Signals:
    """A signal for each row of z.

    Raises ValueError for a name that is no signal.
    """
    found: list[Signal] = []
    known = {s.quaternion or s.name: s for s in signals}
    for name in chosen:
        if name not in known:
            raise ValueError(f"features: no signal {name!r}; signals are {list(known)}")
        signal = known[name]
        parts = ("sin", "cos") if signal.angle else ()
        if signal.quaternion is not None:
            parts = tuple(f"R{i}{j}" for j in range(3) for i in range(3))
        found += [Signal(f"{name}_{part}") for part in parts] or [Signal(name, signal.unit)]
    return tuple(found)
