"""Digests change with what numbers depend on, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel.study.fingerprint import fingerprint


@dataclass(frozen=True)
class Pair:
    first: Any
    second: Any = None

    def total(self) -> Any:
        return self.first


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


def plus(x: float, y: float = 1.0) -> float:
    return x + y


def square(factor: float) -> ca.Function:
    x = ca.SX.sym("x")
    return ca.Function("f", [x], [factor * x**2])


VALUES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "number": (lambda: Pair(1.0), lambda: Pair(1.5)),
    "kind": (lambda: Pair(1), lambda: Pair(1.0)),
    "field": (lambda: Pair(1.0, 2.0), lambda: Pair(2.0, 1.0)),
    "array": (lambda: np.arange(3.0), lambda: np.arange(3.0) + 1e-15),
    "shape": (lambda: np.zeros((2, 3)), lambda: np.zeros((3, 2))),
    "scalar": (lambda: np.int64(3), lambda: np.int64(4)),
    "tensor": (lambda: torch.arange(3.0), lambda: torch.arange(3.0) + 1),
    "mapping": (lambda: {"a": 1.0}, lambda: {"a": 2.0}),
    "partial": (lambda: partial(plus, y=2.0), lambda: partial(plus, y=3.0)),
    "closure": (lambda: scaled(2.0), lambda: scaled(3.0)),
    "method": (lambda: Pair(1.0).total, lambda: Pair(2.0).total),
    "class": (lambda: Pair, lambda: dict),
    "expression": (lambda: square(2.0), lambda: square(3.0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_equal_values_have_one_digest_and_others_another(name: str) -> None:
    one, other = VALUES[name]
    assert fingerprint(one()) == fingerprint(one())
    assert fingerprint(one()) != fingerprint(other())
