"""Target "torch": the checkpoint itself, one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch

from hybridmodel.checkpoint import load, save
from hybridmodel.export.round_trip import RoundTrip, draw
from hybridmodel.model import HybridModel


def write(model: HybridModel, folder: Path, name: str, digest: str) -> RoundTrip:
    """Write NAME.safetensors and read it back: tensors and one step must be equal in all bits.

    Raises ValueError for a model that no file can hold, see `hybridmodel.save`.
    """
    path = folder / f"{name}.safetensors"
    save(model, path)
    again = load(path, system=model.system, residual=model.residual)
    ours, theirs = model.state_dict(), again.state_dict()
    same = ours.keys() == theirs.keys() and all(
        torch.equal(tensor.cpu(), theirs[key]) for key, tensor in ours.items()
    )
    count, system = 8, model.system
    sizes = [system.nx, system.nu, len(model.fit_parameters), system.nd]
    v = draw(model, count).to(model.theta)
    x, u, p, d = v.split(sizes, -1)
    with torch.no_grad():
        mine = model(x, u, d, p=p).cpu()
        theirs_step = again(*(t.cpu() for t in (x, u, d)), p=p.cpu())
    gap = float((mine - theirs_step).abs().max()) if mine.numel() else 0.0
    differences = {"tensors": 0.0 if same else float("inf"), "step": gap}
    return RoundTrip(differences, 0.0, count, f"read back by hybridmodel.load, model {digest[:12]}")
