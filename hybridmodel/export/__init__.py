"""Out of this library: one model in the form of another tool, each with its round-trip check.

    c        step, Jacobian, output and monitor as self-contained C99
    casadi   step, ẋ and output as serialised casadi.Functions
    onnx     x⁺ = F(x, u, p, d) over a batch
    acados   a model file of expressions and a recipe
    torch    the checkpoint: one safetensors file

`HybridModel.export` is the way in.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import torch

from hybridmodel.checkpoint import describe, save
from hybridmodel.export import acados, c, functions, onnx_model, torch_checkpoint
from hybridmodel.export.c.pieces import DType
from hybridmodel.export.folder import complete_or_absent, refuse_foreign
from hybridmodel.export.round_trip import RoundTrip, in_float64
from hybridmodel.model import HybridModel
from physics.binding import digest

Target = Literal["c", "casadi", "onnx", "acados", "torch"]
_WRITE: dict[str, Callable[..., RoundTrip]] = {
    "c": c.write,
    "casadi": functions.write,
    "onnx": onnx_model.write,
    "acados": acados.write,
    "torch": torch_checkpoint.write,
}
_WITH_DTYPE = ("c", "onnx")
_WITHOUT_MEMORY = ("c", "onnx", "acados")


@dataclass(frozen=True)
class Exported:
    """What `export` wrote: the files in `directory`, and how they compare with the model."""

    directory: Path
    target: Target
    files: tuple[Path, ...]
    check: RoundTrip

    def __str__(self) -> str:
        names = ", ".join(path.name for path in self.files)
        return f"{self.directory}: {names}\n{self.check}"


def export(
    model: HybridModel,
    directory: str | os.PathLike[str],
    *,
    target: Target,
    name: str | None = None,
    dtype: DType = "float64",
) -> Exported:
    """Write a model for another tool into a folder of its own.

    directory   made by this call, all at once; it may be there empty, or with an export that is
                still as it was written, which is then replaced
    name        what files and functions are called; default: the system's class in small letters
    dtype       of the numbers, for "c" and "onnx"

    Raises ValueError for an unknown target, a name that is no identifier, a dtype that the target
    does not have, a weight or physical parameter that is not finite (named), or a part of the
    model that has no form there (named); FileExistsError where the folder holds other files, or
    an export while it is the working folder; ImportError where an extra is missing. A check that
    does not hold is no error: it is told by `check.holds`.
    """
    if target not in _WRITE:
        raise ValueError(f"target must be one of {list(_WRITE)}, got {target!r}")
    if dtype not in get_args(DType):
        raise ValueError(f"dtype must be one of {list(get_args(DType))}, got {dtype!r}")
    if dtype != "float64" and target not in _WITH_DTYPE:
        raise ValueError(f"dtype={dtype!r} is for targets {_WITH_DTYPE}; {target!r} has its own")
    if model.nm and target in _WITHOUT_MEMORY:
        raise ValueError(
            f"target {target!r} has no form of a residual with memory "
            f"({type(model.residual).__name__}); 'casadi' and 'torch' have"
        )
    name = _snake(type(model.system).__name__) if name is None else name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be an identifier like 'cart_pole', got {name!r}")
    place = Path(directory)
    refuse_foreign(place)  # before the work, not after it
    _refuse_not_finite(model)
    told = model_digest(model)
    about = {
        "target": target,
        "name": name,
        "dtype": dtype,
        "model": told,
        "hybridmodel": version("hybridmodel"),
    }
    options = (dtype,) if target in _WITH_DTYPE else ()
    with complete_or_absent(place, about) as folder:
        check = _WRITE[target](model, folder, name, told, *options)
        names = sorted(path.name for path in folder.iterdir())
    return Exported(place, target, tuple(place / n for n in names), check)


def _refuse_not_finite(model: HybridModel) -> None:
    """ValueError that names the first weight or physical parameter which is not finite."""
    values = {**model.system.parameters, **model.parameter_values()}
    numbers = {
        f"parameter {name!r}": torch.tensor(float(value)) for name, value in values.items()
    } | {f"weight {name!r}": weight for name, weight in model.named_parameters()}
    for name, number in numbers.items():
        if not torch.isfinite(number).all():
            raise ValueError(
                f"model: its {name} is not finite, so no result of an export would be a number; "
                "give a model whose fit ended well"
            )


def model_digest(model: HybridModel) -> str:
    """The SHA-256 of a model: its checkpoint's, or its step Function's where it has none."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.safetensors"
        try:
            save(model, path)
        except ValueError:  # a part of the user's own that no file can describe
            return digest(in_float64(model).step_function())
        return describe(path)["sha256"]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
