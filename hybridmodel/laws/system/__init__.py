"""The laws of a System: what models, planners, fits and files rely on."""

from __future__ import annotations

from hybridmodel.laws.report import LawReport, run
from hybridmodel.laws.system import copies, declarations, equations
from hybridmodel.laws.system.subject import Subject
from physics import System

LAWS = (*declarations.LAWS, *equations.LAWS, *copies.LAWS)


def check_system(system: System, *, points: int = 10, seed: int = 0) -> LawReport:
    """Whether a System obeys the laws that the rest of this project rests on.

    Numbers are compared at `points` random points (x, u, p, d), drawn inside the bounds of the
    signals; all parameters are declared. Each law is run whatever the others found.

    Raises ValueError where `system` is no System, or points < 1.
    """
    if not isinstance(system, System):
        raise ValueError(f"system must be a physics.System, got {type(system).__name__}")
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    return run(type(system).__name__, LAWS, Subject(system, points, seed))
