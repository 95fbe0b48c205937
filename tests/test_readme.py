"""The README's code runs, its files are there, its figures come from the benchmark."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) >= 3
    # one module for all blocks, as a reader would type them one after the other
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # dataclasses look their module up
    scope = vars(module)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["plan"].usable
    assert (tmp_path / "pendulum.safetensors").exists()


def test_the_files_it_names_are_there() -> None:
    for target in re.findall(r"\]\(([^):#]+)[)#]", TEXT):
        assert (ROOT / target).exists(), target


def test_it_holds_figures_and_the_output_of_the_demo() -> None:
    for name in ("figures", "demo"):
        block = re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", TEXT, re.S)
        assert block is not None
        assert len(block[1].splitlines()) > 5, f"python -m benchmarks.readme has not filled {name}"
