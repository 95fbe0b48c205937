"""What holds for all tests: one torch thread, so that results repeat on any machine."""

from __future__ import annotations

import gc

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    gc.set_threshold(50_000, 20, 50)  # models are few and large: a tenth of the time went there
    # torch itself, when forward mode is first used
    config.addinivalue_line(
        "filterwarnings", "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
    )
