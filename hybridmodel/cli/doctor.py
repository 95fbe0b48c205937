"""`hybridmodel doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform

from rich.console import Console

from hybridmodel.cli import OK, WORSE

CORE = ("hybridmodel", "numpy", "scipy", "torch", "casadi", "safetensors", "llvmlite")
EXTRAS = {
    "sim": ("gymnasium", "pybullet"),
    "mujoco": ("gymnasium", "mujoco"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "data": ("pyarrow", "h5py"),
    "ros": ("rosbags",),
    "rl": ("gymnasium", "stable-baselines3"),
    "cluster": ("distributed",),
    "report": ("matplotlib", "pillow", "jinja2"),
}


def doctor() -> int:
    """Versions, extras, and a self-check of this installation."""
    from hybridmodel import HybridModel, check_agreement, physics, residuals

    console = Console(highlight=False)
    console.print(f"Python {platform.python_version()} on {platform.platform()}")
    console.print("core    " + ", ".join(f"{name} {_version(name)}" for name in CORE))
    for extra, names in EXTRAS.items():
        missing = [name for name in names if _version(name) is None]
        state = f"missing {', '.join(missing)}: pip install hybridmodel[{extra}]"
        found = ", ".join(f"{name} {_version(name)}" for name in names)
        console.print(f"{extra:7} {state if missing else found}")
    console.print(f"cores   {os.cpu_count()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS')}")
    model = HybridModel(physics.CartPole(), residuals.MLP((32, 32)), dt=0.04)
    for name, weight in model.named_parameters():
        weight.data += 0.1 * name.startswith("residual")  # untrained it is 0, which tests nothing
    console.print(f"path    {model.path.name}: {model.path.reason}")
    agreement = check_agreement(model)
    console.print(f"check   {agreement}", markup=False, soft_wrap=True)
    return OK if agreement.holds else WORSE


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
