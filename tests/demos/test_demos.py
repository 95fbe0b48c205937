"""Every demo runs, from its own file, in its short version."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

DEMOS = Path(__file__).resolve().parents[2] / "demos"
LONG = ("pixels", "terminal_value")
WITHOUT_DATA = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else [])
    for path in sorted(DEMOS.glob("*.py"))
    if path.name != "real_double_pendulum.py"
]


@pytest.mark.parametrize("path", WITHOUT_DATA)
def test_a_demo_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.main(quick=True)
    assert capsys.readouterr().out.strip()
