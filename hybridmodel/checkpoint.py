"""Checkpoints: one safetensors file with all that makes a model, and nothing that can run.

The header holds JSON: schema version, system, parameters, placement, residual, dt, versions and
a SHA-256 of all of it and the tensors (a flipped bit would load silently otherwise). No class is
ever imported by a name from a file: classes of this project are known, others must be passed in.
A casadi.Function is kept as its name and digest, never as itself (CasADi's reader trusts its
files): a system that holds one must be passed in too, and is refused where the function differs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

import casadi as ca
import safetensors.torch
import torch

import physics
import residuals
from hybridmodel import placement as placements
from hybridmodel.files import write_atomically
from hybridmodel.model import HybridModel
from physics import Parameter, Signal, System, integrators
from physics.binding import Binding, digest
from physics.rigid_body.description import Description, Joint, Link, Pose
from residuals import Gated, Residual

SCHEMA = 3
_INTEGRATORS = (*integrators.ALL, integrators.discrete)
_DATA = {cls.__name__: cls for cls in (Signal, Description, Link, Joint, Pose)}
_SYSTEMS = {
    cls.__name__: cls
    for cls in (getattr(physics, name) for name in physics.__all__)
    if isinstance(cls, type) and issubclass(cls, System)
}
_RESIDUALS = {
    cls.__name__: cls
    for cls in (getattr(residuals, name) for name in residuals.__all__)
    if isinstance(cls, type) and issubclass(cls, Residual)
}


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, is damaged, or needs a class passed in."""


def save(model: HybridModel, path: str | Path) -> None:
    """Write a model to one file, atomically: an existing file stays whole on any failure.

    Raises ValueError for a model that could not be read back: a placement or an integrator that
    is not this project's, or a field of a kind that JSON does not hold.
    """
    if dataclasses.replace(model.placement, rows=None) not in placements.ALL:
        raise ValueError(
            f"placement {model.placement.name!r} is not this project's: cannot save it"
        )
    if model.integrator not in _INTEGRATORS:
        raise ValueError(
            f"integrator {model.integrator.name!r} is not this project's: cannot save it"
        )
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    residual = model.residual
    description = {
        "schema": SCHEMA,
        "system": _describe_system(model.system),
        "parameters": {name: float(v) for name, v in model.system.parameters.items()},
        "fit_parameters": list(model.fit_parameters),
        "placement": {"name": model.placement.name, "rows": model.placement.rows},
        "integrator": model.integrator.name,
        "substeps": model.substeps,
        "hold": model.hold,
        "dt": model.dt,
        "features": list(model.features),
        "residual": residual and _describe_residual(residual),
        "dtype": str(model.theta.dtype).removeprefix("torch."),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("hybridmodel", "torch", "casadi", "numpy")
        },
    }
    try:
        description["sha256"] = _digest(description, tensors)
    except TypeError as error:
        raise ValueError(
            f"residual: config of {type(residual).__name__} is not JSON data: {error}"
        ) from None
    data = safetensors.torch.save(tensors, {"hybridmodel": json.dumps(description)})
    write_atomically(path, data)


def describe(path: str | Path) -> dict[str, Any]:
    """The description a checkpoint holds, checked but not built."""
    return _read(path)[0]


def load(
    path: str | Path, *, system: System | None = None, residual: torch.nn.Module | None = None
) -> HybridModel:
    """Read a model.

    system    needed where the file's system is of a class that is not this project's or holds a
              casadi.Function; it must be of the class, and hold the functions, that were saved
    residual  likewise; a module of the class and shape that was saved, whose weights are then
              replaced in a copy

    Raises CheckpointError where the file is missing, damaged, foreign, of a newer schema, or
    names a class that must be passed.
    """
    description, tensors = _read(path)
    try:
        model = HybridModel(
            _system(path, description["system"], system),
            _residual(path, description["residual"], residual),
            dt=description["dt"],
            placement=_named(placements.ALL, description["placement"]["name"]).on(
                *description["placement"]["rows"]
            )
            if description["placement"]["rows"] is not None
            else _named(placements.ALL, description["placement"]["name"]),
            fit_parameters=description["fit_parameters"],
            integrator=_named(_INTEGRATORS, description["integrator"]),
            substeps=description["substeps"],
            hold=description["hold"],
            features=description["features"],
        ).to(getattr(torch, description["dtype"]))
        model.load_state_dict(tensors)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: its description does not make a model: {error}") from error
    return model


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size]) if 2 <= size <= len(data) - 8 else {}
        description = json.loads(header["__metadata__"]["hybridmodel"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            f"{path}: is no hybridmodel checkpoint (wanted safetensors with our metadata)"
        ) from None
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        found = description.get("schema") if isinstance(description, dict) else None
        raise CheckpointError(f"{path}: has schema {found!r}, this version reads {SCHEMA}")
    try:
        tensors = safetensors.torch.load(data)
        digest = _digest(description, tensors)
    except Exception as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from None
    if digest != description.get("sha256"):
        raise CheckpointError(f"{path}: is damaged: its content does not match its SHA-256")
    return description, tensors


def _is_ours(value: object, known: dict[str, type]) -> bool:
    return known.get(type(value).__name__) is type(value)


def _digest(description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    told = {name: value for name, value in description.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _describe_system(system: System) -> dict[str, Any]:
    return {
        "class": type(system).__name__,
        "ours": _is_ours(system, _SYSTEMS),
        "fields": {
            f.name: _to_json(getattr(system, f.name))
            for f in dataclasses.fields(system)  # type: ignore[arg-type]
        },
    }


def _describe_residual(residual: Residual) -> dict[str, Any]:
    """Its class and configuration; a residual inside another one likewise."""
    config = residual.config()
    return {
        "class": type(residual).__name__,
        "ours": _is_ours(residual, _RESIDUALS),
        "config": {k: v for k, v in config.items() if not isinstance(v, Residual)},
        "inside": {k: _describe_residual(v) for k, v in config.items() if isinstance(v, Residual)},
        "module": type(residual.module).__name__ if isinstance(residual, Gated) else None,
    }


def _to_json(value: Any) -> Any:
    match value:
        case System():
            return {"system": _describe_system(value)}
        case Signal() | Description() | Link() | Joint() | Pose():
            parts = {f.name: _to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"data": type(value).__name__, "fields": parts}
        case Parameter():
            return {"parameter": [float(value), value.unit, value.domain]}
        case Binding():
            parts = dataclasses.fields(value)
            return {"binding": {f.name: _to_json(getattr(value, f.name)) for f in parts}}
        case ca.Function():
            return {"function": {"name": value.name(), "sha256": digest(value)}}
        case tuple() | list():
            return [_to_json(item) for item in value]
        case float() if not math.isfinite(value):
            return {"float": repr(value)}
        case None | bool() | int() | float() | str():
            return value
    raise ValueError(f"system: a field of type {type(value).__name__} cannot be saved")


def _from_json(path: str | Path, value: Any, given: Any, whole: str) -> Any:
    """The value of a field; `given` is that of the system passed in, None where none was."""
    match value:
        case {"binding": parts}:
            return Binding(
                **{k: _from_json(path, v, getattr(given, k, None), whole) for k, v in parts.items()}
            )
        case {"function": told}:
            return _function(path, told, given, whole)
        case {"system": description}:
            return _system(path, description, given, whole)
        case {"data": name, "fields": parts}:
            return _DATA[name](**{k: _from_json(path, v, None, whole) for k, v in parts.items()})
        case {"float": text}:
            return float(text)
        case {"parameter": [number, unit, domain]}:
            return Parameter(number, unit, domain)
        case list():
            return tuple(_from_json(path, item, None, whole) for item in value)
    return value


def _function(path: str | Path, told: dict[str, str], given: Any, whole: str) -> ca.Function:
    """The given function, where it is the one that was saved."""
    if not isinstance(given, ca.Function):
        raise CheckpointError(
            f"{path}: its system {whole!r} holds the casadi.Function {told['name']!r}, which is "
            f"not part of this project; pass load(…, system=…) with a {whole} that holds "
            "it, on the command line --system MODULE:FACTORY"
        )
    if told != {"name": given.name(), "sha256": digest(given)}:
        raise CheckpointError(
            f"{path}: the casadi.Function {given.name()!r} of system={whole} is not the "
            f"{told['name']!r} that was saved: it has another name, computes something else, or "
            "was made by another version of CasADi (`describe` names the version)"
        )
    return given


def _system(
    path: str | Path, description: dict[str, Any], given: System | None, whole: str = ""
) -> System:
    """The described system; `whole` is the class of the one that it is a field of."""
    name = description["class"]
    whole = whole or name
    if given is None and not description["ours"]:
        raise CheckpointError(
            f"{path}: its system {name!r} is not part of this project; "
            f"pass load(…, system={whole}(…)), on the command line --system MODULE:CLASS"
        )
    if given is not None and type(given).__name__ != name:
        raise CheckpointError(f"{path}: holds a model of {name}, got system={type(given).__name__}")
    fields = {
        k: _from_json(path, v, getattr(given, k, None), whole)
        for k, v in description["fields"].items()
    }
    if given is not None:
        return dataclasses.replace(given, **fields)  # type: ignore[type-var]
    return _SYSTEMS[name](**fields)


def _residual(
    path: str | Path,
    description: dict[str, Any] | None,
    given: torch.nn.Module | None,
    whole: str = "",
) -> torch.nn.Module | None:
    """The described residual; `whole` is the class of the one that it is inside of."""
    if description is None:
        if given is not None:
            raise CheckpointError(
                f"{path}: holds a model without residual, got residual={type(given).__name__}"
            )
        return None
    module = given.module if isinstance(given, Gated) else given
    name = description["module"] or description["class"]
    if module is None and (description["module"] is not None or not description["ours"]):
        wanted = f"{whole}({name}(…))" if whole else f"{name}(…)"
        raise CheckpointError(
            f"{path}: its residual {name!r} is not part of this project; "
            f"pass load(…, residual={wanted}), on the command line --residual MODULE:FACTORY"
        )
    if module is not None and type(module).__name__ != name:
        raise CheckpointError(
            f"{path}: holds a residual {name}, got residual={type(module).__name__}"
        )
    if description["module"] is not None:
        return given
    known = _RESIDUALS[name] if module is None else type(module)
    theirs = given.config() if isinstance(given, Residual) else {}
    inside = {
        k: _residual(path, told, theirs.get(k), whole or name)
        for k, told in description.get("inside", {}).items()
    }
    return known(**description["config"], **inside)


def _named(known: tuple[Any, ...], name: str) -> Any:
    for item in known:
        if item.name == name:
            return item
    raise KeyError(f"{name!r} is none of {[item.name for item in known]}")
