"""Single, double and triple pendulum swinging freely: the cart is locked, there is no input.

The logs are pieces of one recording each, so the encoders' zeros are the same in all of them and
are parameters here. The authors' split names pieces train_… and test_…; the first and largest
swing, train_00, is held out too, since the test pieces hold the smallest ones.

Kaheman et al., arXiv 2205.06231; data and parameters of dynamicslab/MultiArm-Pendulum (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch

from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory, identify
from hybridmodel.batches import batch, outputs
from physics import Mechanical, Parameter, Signal

ARMS = {"single": 1, "double": 2, "triple": 3}
RAW, EVERY = 0.001, 10  # logged step [s], samples in a model step of 0.01 s
HORIZON = {"single": 900, "double": 250, "triple": 150}
LARGEST = "train_00"
VALIDATION = {"single": (2,), "double": (3, 8, 13, 18, 23), "triple": (2, 7, 12, 17, 21)}

PUBLISHED = {
    "single": {"m1": 0.14758457, "a1": 0.14775490, "I1": 1.0911851e-4, "k1": 2.2394013e-4,
               "gravity": 9.8100131},
    "double": {"m1": 0.09384397, "m2": 0.13759597, "a1": 0.10856521, "a2": 0.11677902,
               "L1": 0.17271920, "I1": 4.3752943e-4, "I2": 1.26882939e-3, "k1": 2.3714278e-4,
               "k2": 1.00000019e-5, "gravity": 9.80858023},
    "triple": {"m1": 0.25817200, "m2": 0.27942778, "m3": 0.11862423, "a1": 0.15999993,
               "a2": 0.20293921, "a3": 0.18370874, "L1": 0.17279974, "L2": 0.2287,
               "I1": 1.0004347e-4, "I2": 3.1415952e-4, "I3": 1.6873904e-4, "k1": 1.47709548e-3,
               "k2": 2.5957663e-4, "k3": 1e-5, "gravity": 9.80834384},
}  # fmt: skip
UNITS = {"m": "kg", "a": "m", "L": "m", "I": "kg·m²", "k": "N·m·s/rad", "c": "N·m", "z": "rad"}


@dataclass(frozen=True)
class MultiArmPendulum(Mechanical):
    """n links in a chain, φ absolute angles with 0 upright, δ = φ + z.

        M_ij = h_ij cos(δ_i − δ_j),    h_ii = I_i + m_i a_i² + μ_i L_i²
        h_ij = L_i (m_j a_j + μ_j L_j) for i < j,    μ_i = Σ_{k>i} m_k
        b_i  = Σ_j h_ij sin(δ_i − δ_j) φ̇_j² − g (m_i a_i + μ_i L_i) sin δ_i + τ_i − τ_{i+1}
        τ_i  = k_i ω_i + c_i tanh(ω_i / w),    ω_i = φ̇_i − φ̇_{i−1},    w = 0.05 rad/s

    m masses [kg], a distances of the centres of mass from the upper joint and L link lengths [m],
    I inertias about the centres [kg·m²], k viscous [N·m·s/rad] and c dry friction [N·m] of the
    joints, z the encoders' zeros [rad]. Equations of Kaheman et al. (arXiv 2205.06231) for
    c = z = 0, with z and a smoothed c added.
    """

    constants: tuple[tuple[str, Parameter], ...]

    @property
    def links(self) -> int:
        """n, the number of links."""
        return sum(name[0] == "m" for name, _ in self.constants)

    @property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        arms = [f"arm{i + 1}" for i in range(self.links)]
        return (
            *(Signal(arm, "rad", angle=True) for arm in arms),
            *(Signal(f"{arm}_rate", "rad/s", rate_of=arm) for arm in arms),
        )

    inputs = ()

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        h, angle = self._inertias(p), self._angles(q, p)
        n = range(self.links)
        return ca.blockcat([[h[i][j] * ca.cos(angle[i] - angle[j]) for j in n] for i in n])

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        h, angle = self._inertias(p), self._angles(q, p)
        n = self.links
        torque = [self._friction(i, v, p) for i in range(n)] + [0]
        rows = []
        for i in range(n):
            turning = sum(h[i][j] * ca.sin(angle[i] - angle[j]) * v[j] ** 2 for j in range(n))
            weight = p.gravity * self._moment(i, p) * ca.sin(angle[i])
            rows.append(turning - weight + torque[i] - torque[i + 1])
        return ca.vertcat(*rows)

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return type(q)(self.links, 0)

    def _angles(self, q: ca.SX, p: SimpleNamespace) -> list[ca.SX]:
        return [q[i] + getattr(p, f"z{i + 1}") for i in range(self.links)]

    def _friction(self, i: int, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        rate = v[i] - (v[i - 1] if i else 0)
        viscous, dry = getattr(p, f"k{i + 1}"), getattr(p, f"c{i + 1}")
        return viscous * rate + dry * ca.tanh(rate / 0.05)

    def _moment(self, i: int, p: SimpleNamespace) -> ca.SX:
        """m_i a_i + μ_i L_i [kg·m]."""
        own = getattr(p, f"m{i + 1}") * getattr(p, f"a{i + 1}")
        return own + (self._carried(i, p) * getattr(p, f"L{i + 1}") if i + 1 < self.links else 0)

    def _carried(self, i: int, p: SimpleNamespace) -> ca.SX:
        """μ_i [kg]."""
        return sum(getattr(p, f"m{k + 1}") for k in range(i + 1, self.links))  # type: ignore

    def _inertias(self, p: SimpleNamespace) -> list[list[ca.SX]]:
        n = self.links
        h = [[ca.SX(0)] * n for _ in range(n)]
        for i in range(n):
            mass, center = getattr(p, f"m{i + 1}"), getattr(p, f"a{i + 1}")
            h[i][i] = getattr(p, f"I{i + 1}") + mass * center**2
            if i + 1 < n:
                h[i][i] += self._carried(i, p) * getattr(p, f"L{i + 1}") ** 2
            for j in range(i + 1, n):
                h[i][j] = h[j][i] = getattr(p, f"L{i + 1}") * self._moment(j, p)
        return h


def published(which: str) -> MultiArmPendulum:
    """The pendulum with its authors' parameters: viscous friction only, exact zeros.

    Raises ValueError for a `which` that is none of single, double, triple.
    """
    if which not in ARMS:
        raise ValueError(f"which must be one of {list(ARMS)}, got {which!r}")
    values = PUBLISHED[which]
    constants = [
        (name, Parameter(value, "m/s²" if name == "gravity" else UNITS[name[0]], "positive"))
        for name, value in values.items()
    ]
    for i in range(ARMS[which]):
        constants.append((f"c{i + 1}", Parameter(0.0, "N·m", "real")))
        constants.append((f"z{i + 1}", Parameter(0.0, "rad", "real")))
    return MultiArmPendulum(tuple(constants))


def read(folder: Path, which: str) -> dict[str, Trajectory]:
    """The pieces by name, every tenth sample; rates are the authors', denoised already."""
    logs = {}
    with np.load(Path(folder) / f"{which}.npz", allow_pickle=False) as arrays:
        for name in arrays.files:
            if name == "dt":
                continue
            y = arrays[name][::EVERY]
            t = np.arange(len(y), dtype=np.float64) * (RAW * EVERY)
            logs[name] = Trajectory(t=t, u=np.zeros((len(y) - 1, 0)), y=y)
    return logs


def fitted_names(which: str) -> tuple[str, ...]:
    """What free swings identify: forces only up to a common factor, so masses stay.

    Of a single pendulum also I₁ stays, since one frequency is all that a₁ and I₁ show; g always.
    """
    n = ARMS[which]
    kinds = "akcz" if n == 1 else "aIkcz"
    return tuple(f"{kind}{i + 1}" for kind in kinds for i in range(n))


def load(folder: Path, which: str) -> MeasuredSet:
    """The authors' split, without the largest swing and with some training pieces to stop by."""
    nominal, logs = published(which), read(folder, which)
    stop = [f"train_{i:02d}" for i in VALIDATION[which]]
    kept = [name for name in logs if name.startswith("train") and name not in (*stop, LARGEST)]
    held_out = {name: log for name, log in logs.items() if name not in (*kept, *stop)}
    return MeasuredSet(
        name=f"multiarm_pendulum {which}",
        system=nominal,
        fit_parameters=fitted_names(which),
        train=Dataset(logs[name] for name in kept),
        validation=Dataset(logs[name] for name in stop),
        horizon=HORIZON[which],
        substeps=1,
        starts=5,
        score=partial(score, logs=held_out),
        published=nominal,
        bars={f"test arm{i + 1} [rad]": (("published", 1.0),) for i in range(ARMS[which])},
    )


def identified(measured: MeasuredSet, *, stride: int = 25, seed: int = 0) -> HybridModel:
    """Our own identification, on all logs that may be fitted to."""
    model = HybridModel(
        measured.system,
        dt=RAW * EVERY,
        substeps=measured.substeps,
        fit_parameters=measured.fit_parameters,
    )
    logs = Dataset((*measured.train, *measured.validation))
    return identify(
        model,
        logs,
        logs,
        horizon=measured.horizon,
        starts=measured.starts,
        stride=stride,
        iterations=12,
        seed=seed,
    ).model


def score(model: HybridModel, logs: Mapping[str, Trajectory]) -> dict[str, float]:
    """Free-run RMSE [rad] from the first sample over whole pieces, by arm.

    "test" pools all test pieces, whose single figures follow; "large" is the largest swing.
    """
    found = {name: _free_run(model, log) for name, log in logs.items()}
    tests = [error for name, error in found.items() if name.startswith("test")]
    figures = {"test": np.sqrt(np.mean(np.square(tests), axis=0)), "large": found[LARGEST]}
    figures |= {name: error for name, error in found.items() if name != LARGEST}
    return {
        f"{name} arm{i + 1} [rad]": float(value)
        for name, error in figures.items()
        for i, value in enumerate(error)
    }


def _free_run(model: HybridModel, log: Trajectory) -> np.ndarray:
    """RMSE of the angles (n,) of one rollout over the whole piece."""
    windows = batch(model, Dataset([log]), log.steps)
    with torch.no_grad():
        error = (outputs(model, windows) - windows.y)[0, 1:, : log.y.shape[1] // 2]
    return error.square().mean(0).sqrt().numpy()
