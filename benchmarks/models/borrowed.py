"""A model that others published, and what is needed to fit it and to plan on it, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import casadi as ca

from physics import Signal


@dataclass(frozen=True, eq=False, kw_only=True)
class Borrowed:
    """One published model.

    name        of its example
    source      project and example in which its equations stand
    changed     what differs from the example in the Function, the bounds and the control step,
                "" where nothing does; tasks, costs and logs are made for all twelve
    function    the casadi.Function as its users have it
    plant       what the logs come from: other numbers inside, or a term more
    states, inputs, exogenous   signals in the order of the Function; bounds as published,
                those of states where the plan is to keep them
    parameters  nominal values by name, in the Function's order
    true        values that differ in the plant; they are fitted beside the residual
    arguments   what each input of the Function is, where its names do not tell
    result      which of its outputs is ẋ or x⁺, where it has several
    dt          control step, in the model's unit of time
    discrete    whether the Function gives x⁺ instead of ẋ
    substeps    Runge–Kutta steps of one dt
    corrected   rows of ẋ (of x⁺) that a residual may correct
    start       state to plan from
    region      where logs start at random, (low, high) by state
    logs        how many, and steps of each
    idle        inputs that are held when nothing is done
    swing       share of the inputs' bounds that the logs' excitation uses
    hold        shortest and longest time between its steps
    disturbance size of the exogenous signals in the logs, by signal
    state, input, target   weights and goal of the quadratic cost, by signal
    horizon     steps of the plan
    closed_loop whether the plant is unstable, so that the plan is made anew at every step of it

    Units are those of the source; they stand with the signals.
    """

    name: str
    source: str
    changed: str = ""
    function: ca.Function
    plant: ca.Function
    states: tuple[Signal, ...]
    inputs: tuple[Signal, ...]
    exogenous: tuple[Signal, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    true: Mapping[str, float] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    result: str | None = None
    dt: float
    discrete: bool = False
    substeps: int = 1
    corrected: tuple[str, ...]
    start: tuple[float, ...]
    region: tuple[tuple[float, float], ...]
    logs: tuple[int, int] = (8, 60)
    idle: tuple[float, ...]
    swing: float = 0.8
    hold: tuple[float, float]
    disturbance: tuple[float, ...] = ()
    state: Mapping[str, float]
    input: Mapping[str, float]
    target: Mapping[str, float]
    horizon: int
    closed_loop: bool = False

    def __str__(self) -> str:
        return self.name
