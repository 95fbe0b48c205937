"""What code for a module is made from: all of it but the values of its floating-point tensors.

Compiled kernels and CasADi forms are kept as long as this stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

_PLAIN = frozenset({bool, int, float, str, type(None)})
_TENSORS = frozenset({"_parameters", "_buffers"})


def structure(*modules: nn.Module) -> tuple[Any, ...]:
    """A fingerprint, equal as long as nothing changes but numbers in registered float tensors.

    Hooks, replaced functions, and attributes that are numbers, text, tensors, arrays or modules,
    in lists and dictionaries too, are seen. What lies inside other objects is not, nor what
    changes for all modules of a class, nor what is written through `Tensor.data`.
    """
    return tuple(_made_of(module) for root in modules for module in root.modules())


def unregistered(root: nn.Module) -> str | None:
    """Which weights torch does not know of, since they are no parameters of a module."""
    for path, module in root.named_modules():
        for name, value in module.__dict__.items():
            if name.startswith("_") and name in vars(nn.Module()):
                continue
            for part in _parts(value):
                where = f"{type(module).__name__}{f' ({path})' if path else ''}.{name}"
                if isinstance(part, nn.Module):
                    return f"{where} holds modules that are not registered: wanted nn.ModuleList"
                if part.requires_grad:
                    return f"{where} holds weights that are no nn.Parameter"
    return None


def _parts(value: Any) -> Iterator[Any]:
    """Tensors and modules inside lists and dictionaries."""
    if isinstance(value, Tensor | nn.Module):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from _parts(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _parts(entry)


def _made_of(module: nn.Module) -> tuple[Any, ...]:
    own: list[Any] = [type(module)]
    for name, value in module.__dict__.items():
        kind = type(value)
        if kind in _PLAIN:
            if name != "backend":  # which path is taken, not what it computes
                own.append((name, kind, value))
        elif name in _TENSORS:
            own += [(key, *_tensor(t)) for key, t in value.items() if t is not None]
        elif name == "_modules":
            own.append((*value, *map(id, value.values())))
        elif not isinstance(value, dict) or value:  # most hooks are empty
            own.append((name, _told(value)))
    return tuple(own)


def _told(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if isinstance(value, Tensor):  # registered nowhere: a constant of the code
        return id(value), value._version, value.requires_grad
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, nn.Module):
        return structure(value)
    if isinstance(value, list | tuple):
        return kind, *map(_told, value)
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(_told, value))
    if isinstance(value, dict):
        return kind, *((_told(key), _told(entry)) for key, entry in value.items())
    return id(value)


def _tensor(t: Tensor) -> tuple[Any, ...]:
    numbers = None if t.is_floating_point() else t._version
    return id(t), t.dtype, t.device.type, t.requires_grad, numbers
