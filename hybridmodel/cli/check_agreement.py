"""`hybridmodel check-agreement`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hybridmodel.cli import OK, WORSE


def check_agreement(
    model: Path,
    *,
    points: int = 10,
    spread: float = 1.0,
    seed: int = 0,
    system: str | None = None,
    residual: str | None = None,
) -> int:
    """Do all paths of a model give the same value, Jacobian and Hessian?

    Exits with 1 where they do not.

    Parameters
    ----------
    model
        A .safetensors model.
    points
        How many random points.
    spread
        Deviation of the signals that declare no bounds.
    seed
        Of the points.
    system
        MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    """
    from hybridmodel import check_agreement as check
    from hybridmodel.cli.choices import load_model

    loaded = load_model(model, system, residual)
    found = check(loaded, points=points, spread=spread, seed=seed)
    Console(soft_wrap=True).print(str(found), markup=False, highlight=False)
    return OK if found.holds else WORSE
