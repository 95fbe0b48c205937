"""What every benchmark prints and writes: a table of figures against their bars."""

from __future__ import annotations

import json
import operator
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from hybridmodel.files import write_atomically

_TESTS = {"≤": operator.le, "≥": operator.ge, "=": operator.eq, "<": operator.lt}


@dataclass(frozen=True)
class Row:
    """One figure. `bar` is like "≤ 0.2", or "" where none is set; `spread` is over the seeds."""

    figure: str
    value: float
    unit: str = ""
    bar: str = ""
    seeds: int = 1
    spread: tuple[float, float] | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value is on the right side of its bar; None without one."""
        if not self.bar:
            return None
        sign, number = self.bar.split(maxsplit=1)
        return bool(_TESTS[sign](self.value, float(number)))


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    names = ("hybridmodel", "torch", "casadi", "numpy", "pybullet")
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def publish(title: str, rows: Sequence[Row], path: Path | None, *, keep: bool = False) -> bool:
    """Print the table, write the JSON, and say whether all bars hold.

    With `keep`, rows of the file that are not measured again stay where they are.
    """
    if keep and path is not None and path.exists():
        fresh = {row.figure: row for row in rows}
        old = [_row(row) for row in read(path)]
        rows = [fresh.pop(row.figure, row) for row in old] + list(fresh.values())
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("figure", "value", "bar", "", "seeds"):
        table.add_column(heading, justify="right" if heading in ("value", "seeds") else "left")
    for row in rows:
        mark = {True: "[green]✓[/]", False: "[red]MISSED[/]", None: ""}[row.holds]
        spread = "" if row.spread is None else f" [{row.spread[0]:.3g}, {row.spread[1]:.3g}]"
        value = f"{row.value:.4g} {row.unit}".strip() + spread
        table.add_row(row.figure, value, row.bar, mark, str(row.seeds))
    console = Console()
    if not console.is_terminal:
        console.width = 160  # of a file or a pipe
    console.print(table)
    if path is not None:
        content = {
            "title": title,
            "machine": machine(),
            "rows": [asdict(row) | {"holds": row.holds} for row in rows],
        }
        write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    return all(row.holds is not False for row in rows)


def _row(content: dict) -> Row:
    spread = content["spread"] and tuple(content["spread"])
    return Row(**{k: v for k, v in content.items() if k not in ("holds", "spread")}, spread=spread)


def read(path: Path) -> Iterable[dict]:
    """The rows of a results file."""
    return json.loads(path.read_text())["rows"]
