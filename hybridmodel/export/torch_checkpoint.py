"""Target "torch": the checkpoint itself, one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch

from hybridmodel.checkpoint import load, save
from hybridmodel.export.round_trip import RoundTrip, difference, in_float64
from hybridmodel.model import HybridModel
from hybridmodel.paths import draw_finite


def write(model: HybridModel, folder: Path, name: str, digest: str) -> RoundTrip:
    """Write NAME.safetensors and read it back: tensors and one step must be equal in all bits.

    Raises ValueError for a model that no file can hold, see `hybridmodel.save`.
    """
    path = folder / f"{name}.safetensors"
    save(model, path)
    again = load(path, system=model.system, residual=model.residual)
    ours, theirs = model.state_dict(), again.state_dict()
    same = ours.keys() == theirs.keys() and all(
        _same(tensor.cpu(), theirs[key]) for key, tensor in ours.items()
    )
    count, system = 8, model.system
    sizes = [model.nx, system.nu, len(model.fit_parameters), system.nd]
    drawn, found, share = draw_finite(in_float64(model), count)
    v = drawn[: found or count].to(model.theta)
    x, u, p, d = v.split(sizes, -1)
    with torch.no_grad():
        mine = model(x, u, d, p=p).cpu()
        theirs_step = again(*(t.cpu() for t in (x, u, d)), p=p.cpu())
    gap = difference(mine.numpy(), theirs_step.numpy())
    differences = {"tensors": 0.0 if same else float("inf"), "step": gap}
    how = f"read back by hybridmodel.load, model {digest[:12]}"
    return RoundTrip(differences, 0.0, len(v), how, share)


def _same(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal in shape and numbers, where NaN equals NaN (a module's own buffers may hold some)."""
    return mine.shape == theirs.shape and bool(
        torch.isclose(mine, theirs, rtol=0.0, atol=0.0, equal_nan=True).all()
    )
