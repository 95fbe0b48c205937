"""Write figures, the demo's output and its picture into the README and the documentation.

python -m benchmarks.spine --json benchmarks/results/spine.json
python -m benchmarks.bridges --json benchmarks/results/bridges.json
python -m benchmarks.physics --json benchmarks/results/physics.json
python -m benchmarks.learning --data FOLDER --json benchmarks/results/learning.json
python -m benchmarks.kernel --peers FOLDER --json benchmarks/results/kernel.json
python -m benchmarks.planners --peers FOLDER --json benchmarks/results/planners.json
python -m benchmarks.rl --json benchmarks/results/rl.json
python -m benchmarks.studies --json benchmarks/results/studies.json
python -m benchmarks.readme [runs/spine/single]      without a run only the figures
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.planning.table import table
from benchmarks.rl import summary
from benchmarks.robots import TEN
from benchmarks.studies import summary as studies
from benchmarks.studies.matrix import TABLE
from hybridmodel.cli.demo import results
from hybridmodel.demo.record import read_summary
from hybridmodel.files import write_atomically
from hybridmodel.report import write_matrix, write_picture

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MATRIX = (
    "![What each model recovers, by system, hidden effect, planner and data](docs/study_matrix.png)"
)
MOST = 150  # rows of a file from which on only those with a bar are told


def contents() -> list[tuple[str, dict[str, Any]]]:
    """(name, content) of every results file that holds figures."""
    read = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    return [(name, found) for name, found in sorted(read.items()) if "rows" in found]


def bars() -> str:
    """How many bars hold, by topic."""
    lines = ["| topic | bars that hold | of | measured by |", "|---|--:|--:|---|"]
    for name, content in contents():
        held = [row["holds"] for row in content["rows"] if row["holds"] is not None]
        topic = f"[{content['title']}](docs/figures.md#{_anchor(content['title'])})"
        lines.append(f"| {topic} | {sum(held)} | {len(held)} | `python -m benchmarks.{name}` |")
    return "\n".join(lines)


def figures() -> str:
    """Every results file as a Markdown table."""
    parts = []
    for name, content in contents():
        about = ", ".join(f"{k} {v}" for k, v in content["machine"].items())
        held = [row["holds"] for row in content["rows"] if row["holds"] is not None]
        rows = content["rows"]
        told = [row for row in rows if row["bar"]] if len(rows) > MOST else rows
        left = f"; {len(rows) - len(told)} more rows without one are in its file"
        lines = [
            f"## {content['title']}",
            "",
            f"`python -m benchmarks.{name}`: {sum(held)} of {len(held)} bars hold"
            f"{left if len(told) < len(rows) else ''}.",
            "",
            "| figure | value | bar | holds | seeds |",
            "|---|---|---|---|---|",
        ]
        for row in told:
            spread = row["spread"]
            value = f"{row['value']:.3g} {row['unit']}".strip()
            value += "" if spread is None else f" [{spread[0]:.3g}, {spread[1]:.3g}]"
            mark = {True: "yes", False: "**missed**", None: ""}[row["holds"]]
            lines.append(f"| {row['figure']} | {value} | {row['bar']} | {mark} | {row['seeds']} |")
        parts.append("\n".join([*lines, "", f"Measured on {about}."]))
    return "\n\n".join(parts)


def _anchor(title: str) -> str:
    """Where a heading is found, as GitHub names it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def parity() -> str:
    """The named robots of docs/robots.md, and what it says of one of them, less the figures."""
    page = (ROOT / "docs" / "robots.md").read_text(encoding="utf-8")
    table, diagnosis = (
        re.findall(f"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, flags=re.S)[0]
        for name in ("robots", "parity")
    )
    head, rows = table.splitlines()[:2], table.splitlines()[2:]
    named = [row for row in rows if any(f"`{name}`" in row for name in TEN)]
    told = [line for line in diagnosis.splitlines() if not line.startswith("    alone")]
    return "\n".join([*head, *named, "", *told])


def demo(run: Path) -> str:
    """The table that a demonstration prints."""
    summary = read_summary(run)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(results(summary))
    table = console.export_text()
    reasons = [
        f"  {'✓' if reason['holds'] else '✗'} {reason['text']}"
        for reason in summary["verdict"]["reasons"]
    ]
    lines = [line.rstrip() for line in (*table.splitlines(), *reasons)]
    return "\n".join(["```text", *filter(None, lines), "```"])


def main(run: Path | None) -> None:
    path = ROOT / "README.md"
    blocks = {"figures": bars(), "parity": parity()}
    _fill(ROOT / "docs" / "figures.md", {"all": figures()})
    if (planned := RESULTS / "planners.json").exists():
        blocks["planners"] = table(json.loads(planned.read_text(encoding="utf-8")))
    if (learned := RESULTS / "rl.json").exists():
        content = json.loads(learned.read_text(encoding="utf-8"))
        blocks["reinforcement"] = summary.table(content)
        tables = {
            "ways": summary.ways(content),
            "situations": summary.situations(content),
            "inverses": summary.inverses(content),
            "asked": summary.where_asked(content),
            "pixels": summary.pixels(content),
        }
        _fill(ROOT / "docs" / "reinforcement.md", tables)
    if (studied := RESULTS / "studies.json").exists():
        content = json.loads(studied.read_text(encoding="utf-8"))
        blocks["studies"] = studies.matrix(content)
        _fill(ROOT / "docs" / "studies.md", {"scaling": studies.scaling(content)})
        if TABLE.exists():
            write_matrix(TABLE, ROOT / "docs" / "study_matrix.png")
            blocks["studies"] = f"{MATRIX}\n\n{blocks['studies']}"
    if run is not None:
        write_picture(run, ROOT / "docs" / "cartpole.webp")
        blocks["demo"] = demo(run)
    _fill(path, blocks)


def _fill(path: Path, blocks: dict[str, str]) -> None:
    """Put each block between its marks."""
    text = path.read_text(encoding="utf-8")
    for name, content in blocks.items():
        block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, text, flags=re.S)  # noqa: B023
    write_atomically(path, text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
