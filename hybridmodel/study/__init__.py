"""Sim-to-real studies: which correction is worth it, with how much data, under which effect.

Study        a grid system × hidden effect × model × placement × data × planner × plant × seed
run_study    run what of it has not run yet, on any executor; `processes`, `dask`
read_study   the Study of a TOML file
recovered    what each model recovers of the gap between physics and oracle

    rows = run_study(Study(systems=("pendulum",), effects=("friction",)), "runs/friction")

Names are loaded when they are first used, so that workers load only what their jobs need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.study.description import read_study as read_study
    from hybridmodel.study.dispatch import News as News
    from hybridmodel.study.engines import Inline as Inline
    from hybridmodel.study.engines import dask as dask
    from hybridmodel.study.engines import processes as processes
    from hybridmodel.study.engines import waited as waited
    from hybridmodel.study.grid import Cell as Cell
    from hybridmodel.study.grid import Study as Study
    from hybridmodel.study.measures import Gap as Gap
    from hybridmodel.study.measures import Recovered as Recovered
    from hybridmodel.study.measures import better as better
    from hybridmodel.study.measures import gaps as gaps
    from hybridmodel.study.measures import over_effects as over_effects
    from hybridmodel.study.measures import recovered as recovered
    from hybridmodel.study.running import read_description as read_description
    from hybridmodel.study.running import run_study as run_study
    from hybridmodel.study.table import read_table as read_table
    from hybridmodel.study.table import same as same
    from hybridmodel.study.table import write_table as write_table

_HOMES = {
    "description": ("read_study",),
    "engines": ("Inline", "dask", "processes", "waited"),
    "grid": ("Cell", "Study"),
    "dispatch": ("News",),
    "measures": ("Gap", "Recovered", "better", "gaps", "over_effects", "recovered"),
    "running": ("read_description", "run_study"),
    "table": ("read_table", "same", "write_table"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
