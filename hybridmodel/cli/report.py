"""`hybridmodel report`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hybridmodel.cli import OK


def report(run: Path) -> int:
    """Write a run folder's HTML report again.

    Parameters
    ----------
    run
        A folder that `hybridmodel demo` has written.
    """
    from hybridmodel.report import write_report

    Console().print(str(write_report(run)))
    return OK
