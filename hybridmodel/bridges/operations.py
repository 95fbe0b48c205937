"""CasADi's scalar operations on torch tensors: the one table both forms of a Function use.

Values are CasADi's, NaN and infinity included, and so are slopes, where a function has one; at its
singular points (atan2 and pow at 0, an argument that is NaN) torch's may differ.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import casadi as ca
import torch
from torch import Tensor


def _real(condition: Tensor, like: Tensor) -> Tensor:
    return condition.to(like.dtype)


def _sign(x: Tensor) -> Tensor:
    return torch.where(torch.isnan(x), math.nan, torch.sign(x))  # torch says sign(NaN) = 0


# fmin(NaN, 1) = 1, and both arguments share the slope where they tie, as CasADi has it


def _fmin(x: Tensor, y: Tensor) -> Tensor:
    return _without_nan(x, y, torch.minimum(x, y))


def _fmax(x: Tensor, y: Tensor) -> Tensor:
    return _without_nan(x, y, torch.maximum(x, y))


def _without_nan(x: Tensor, y: Tensor, value: Tensor) -> Tensor:
    return torch.where(torch.isnan(x), y, torch.where(torch.isnan(y), x, value))


def _fmod(x: Tensor, y: Tensor) -> Tensor:
    # torch's vectorised fmod is wrong where x / y is large for the dtype: float64 is always enough,
    # and a large multiple of y goes first
    a, b = x.detach().double(), y.detach().double()
    value = torch.fmod(torch.fmod(a, b * 2.0**1000), b)
    n = torch.where(value == a, 0, torch.round((a - value) / b)).to(y.dtype)  # y may be infinite
    n = torch.nan_to_num(n)
    slope = x - n * torch.where(n == 0, 0, y)
    return value.to(slope.dtype) + (slope - slope.detach())


def _copysign(x: Tensor, y: Tensor) -> Tensor:
    return torch.abs(x) * torch.copysign(torch.ones_like(y), y).detach()  # torch's slope: 0/0 at 0


def _pow(x: Tensor, y: Tensor) -> Tensor:
    # torch takes xʸ at y = 0 as constant in x, and so loses a mixed second derivative
    zero = (y == 0) & (x > 0) & torch.isfinite(x)
    return torch.where(zero, torch.exp(y * torch.log(torch.where(zero, x, 1))), torch.pow(x, y))


def _remainder(x: Tensor, y: Tensor) -> Tensor:
    # IEEE 754: x − n y for the nearest n, ties to even; exact since fmod is, however large x/y
    part = _fmod(x, 2 * y)
    n = torch.round(part / y).detach()
    return torch.where(n == 0, part, part - n * y)  # y may be infinite where n = 0


# Plain operators take Python floats for constants; the functions below are given tensors.
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
    "DIV": operator.truediv,
    "NEG": operator.neg,
    "SQ": lambda x: x * x,
    "TWICE": lambda x: 2.0 * x,
    "INV": lambda x: 1.0 / x,
    "ASSIGN": lambda x: x,
    "LIFT": lambda x, y: x,
    "PRINTME": lambda x, y: x,  # it prints a number as it passes; a batch has no such number
}
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "EXPM1": torch.expm1,
    "LOG1P": torch.log1p,
    "SQRT": torch.sqrt,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "TANH": torch.tanh,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "ERF": torch.erf,
    "ERFINV": torch.erfinv,
    "FABS": torch.abs,
    "SIGN": _sign,
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "POW": _pow,
    "CONSTPOW": torch.pow,
    "ATAN2": torch.atan2,
    "HYPOT": torch.hypot,
    "FMIN": _fmin,
    "FMAX": _fmax,
    "FMOD": _fmod,
    "REMAINDER": _remainder,
    "COPYSIGN": _copysign,
    "LT": lambda x, y: _real(x < y, x),
    "LE": lambda x, y: _real(x <= y, x),
    "EQ": lambda x, y: _real(x == y, x),
    "NE": lambda x, y: _real(x != y, x),
    "NOT": lambda x: _real(x == 0, x),
    "AND": lambda x, y: _real((x != 0) & (y != 0), x),
    "OR": lambda x, y: _real((x != 0) | (y != 0), x),
    "IF_ELSE_ZERO": lambda x, y: torch.where(x != 0, y, torch.zeros_like(y)),
}
OPERATIONS = tuple(sorted((*ARITHMETIC, *FUNCTIONS)))
OPCODE = {getattr(ca, f"OP_{name}"): name for name in OPERATIONS}
NAME = {getattr(ca, name): name[3:] for name in dir(ca) if name.startswith("OP_")}
