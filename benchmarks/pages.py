"""Write the figures of placements and residuals into the pages that say when to use them.

    python -m benchmarks.pages [FILE …]      default: benchmarks/results/learning.json

A page has blocks `<!-- numbers KEY -->`: KEY is what the figures begin with ("placement force"), or
"summary" for all that have a bar.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import read
from hybridmodel.files import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "learning.json"
BLOCK = re.compile(r"<!-- numbers ([^>]*?) -->\n.*?<!-- /numbers \1 -->", re.S)


def table(rows: Sequence[dict], key: str) -> str:
    """The rows of a key as Markdown, "" where there are none."""
    chosen = [row for row in rows if _shown(row, key)]
    if not chosen:
        return ""
    lines = ["| figure | value | bar | seeds |", "|---|--:|---|--:|"]
    for row in chosen:
        figure = row["figure"] if key == "summary" else row["figure"].removeprefix(f"{key}: ")
        value = f"{row['value']:.3g} {row['unit']}".strip()
        if row["spread"] is not None:
            value += f" [{row['spread'][0]:.3g}, {row['spread'][1]:.3g}]"
        bar = row["bar"] + ("" if row["holds"] is not False else " **missed**")
        lines.append(f"| {figure} | {value} | {bar} | {row['seeds']} |")
    return "\n".join(lines) + "\n"


def _shown(row: dict, key: str) -> bool:
    if key == "summary":
        return row["bar"] != "" and row["figure"].startswith(("placement ", "residual "))
    return row["figure"].startswith(f"{key}: ")


def main(paths: Sequence[Path]) -> None:
    rows = [row for path in paths for row in read(path)]

    def filled(block: re.Match[str]) -> str:
        key = block.group(1)
        content = table(rows, key)
        if not content:
            return block.group(0)  # not measured again
        return f"<!-- numbers {key} -->\n{content}<!-- /numbers {key} -->"

    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := BLOCK.sub(filled, text)) != text:
            write_atomically(page, new.encode())


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]] or [RESULTS])
