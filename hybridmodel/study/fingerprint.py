"""A digest of what a study's numbers depend on: the values in a task, and files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import casadi as ca
import numpy as np
import torch

from physics.binding import digest


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits; the same in every process, for equal values of the same classes."""
    return hashlib.sha256(_told(value).encode()).hexdigest()[:16]


def _told(value: Any) -> str:
    """The value as text: fields by name, functions by where they are defined and what they hold."""
    match value:
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case None | bool() | int() | str():
            return repr(value)
        case float():
            return f"{type(value).__name__} {float(value)!r}"
        case torch.Tensor():
            return _told(value.detach().cpu().numpy())
        case np.generic():
            return f"{value.dtype} {value.item()!r}"
        case np.ndarray():
            return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        case ca.Function():
            return digest(value)
        case functools.partial():
            return f"partial {_told((value.func, value.args, value.keywords))}"
        case MethodType():
            return f"{value.__qualname__} of {_told(value.__self__)}"
        case FunctionType():
            held = inspect.getclosurevars(value).nonlocals if value.__closure__ else {}
            with_ = (value.__defaults__, value.__kwdefaults__, held)
            known = _told(tuple(part for part in with_ if part))
            return f"{value.__module__}.{value.__qualname__} {known}"
        case Mapping():
            return "{" + ", ".join(f"{_told(k)}: {_told(v)}" for k, v in value.items()) + "}"
        case tuple() | list():
            return "(" + ", ".join(map(_told, value)) + ")"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return f"{type(value).__qualname__} {_told(parts)}"
    if hasattr(value, "__qualname__"):  # a class, or a function of C
        return f"{value.__module__}.{value.__qualname__}"
    return f"{type(value).__qualname__} {_told(vars(value))}"
