"""`hybridmodel export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from hybridmodel.cli import OK, WORSE


def export(
    model: Path,
    directory: Path,
    *,
    target: Literal["c", "casadi", "onnx", "acados", "torch"],
    name: str | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    system: str | None = None,
    residual: str | None = None,
) -> int:
    """Write a model for another tool; exits with 1 where it differs from the model.

    Parameters
    ----------
    model
        A .safetensors model.
    directory
        A folder for the export alone; an unchanged earlier export there is replaced.
    target
        What the files are for.
    name
        What files and functions are called; default: the system's class in small letters.
    dtype
        Of the numbers, for c and onnx.
    system
        A robot's .urdf or .xml file, or MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    """
    from hybridmodel.cli.choices import load_model

    loaded = load_model(model, system, residual)
    done = loaded.export(directory, target=target, name=name, dtype=dtype)
    Console(soft_wrap=True).print(str(done), highlight=False, markup=False)
    return WORSE if done.check.holds is False else OK
