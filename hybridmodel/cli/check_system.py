"""`hybridmodel check-system`."""

from __future__ import annotations

from rich.console import Console

from hybridmodel.cli import OK, WORSE


def check_system(system: str, *, points: int = 10, seed: int = 0) -> int:
    """Does a system obey the laws that models, fits, planners and files rest on?

    Exits with 1 where one fails.

    Parameters
    ----------
    system
        Your own as MODULE:CLASS, the name of one of this project's, or a robot's .urdf or .xml.
    points
        How many random points numbers are compared at.
    seed
        Of the points.
    """
    from hybridmodel import check_system as check
    from hybridmodel.cli.choices import system_named

    found = check(system_named(system, "argument system"), points=points, seed=seed)
    Console(soft_wrap=True).print(str(found), markup=False, highlight=False)
    return OK if found.holds else WORSE
