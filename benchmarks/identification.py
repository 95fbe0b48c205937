"""Are parameters identified, and their intervals honest, while a residual learns the rest?

    python -m benchmarks.identification [--quick] [--only PART,…] --json FILE

coverage  (`coverage`)  pendulum and cart-pole with a force along the track, or a torque over the
          angle, that the physics does not know: parameters 20–30 % off, noise on all states.
          The residual sees the position alone, and enters where the motor does. So it can learn
          any force of position, that of gravity too, and can mimic neither inertia nor damping:
          those parameters are identified whatever the prior on the residual says. Were it to see
          the rates as well, damping would be what the smallest residual leaves to it, and no
          interval could cover the truth by right.
aphynity  (`aphynity`)  the damped pendulum of Yin et al., Augmenting physical models with deep
          networks for complex dynamics forecasting, ICLR 2021, Table 1 (c): frictionless physics
          with unknown ω₀², the residual learns the damping.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import casadi as ca
import numpy as np
import scipy.integrate
import torch
from torch import Tensor, nn

from benchmarks.figures import Row, publish
from hybridmodel import Dataset, HybridModel, Multisine, Trajectory, placement
from hybridmodel.identification import fit_jointly, information
from physics import CartPole, Parameter, Pendulum, Signal, System
from residuals import Residual, Standardize

RUNS, FIRST_SEED = 200, 1000  # scenarios were settled on seeds below 100


class Waves(Residual):
    """r = W ψ((z − μ)/ς), linear in W and smooth in z: ψ are random waves cos(ω·z + φ), ω normal
    with deviation 1/width, and with `linear` z itself."""

    def __init__(
        self,
        count: int = 20,
        *,
        width: float = 1.0,
        linear: bool = False,
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        self.count, self.width, self.linear, self.seed = count, width, linear, seed
        self.nz, self.nr = nz, nr
        if nz is None or nr is None:
            return
        rng = np.random.default_rng((7, seed))
        self.input = Standardize(nz)
        self.frequency: Tensor
        self.phase: Tensor
        self.register_buffer("frequency", torch.as_tensor(rng.normal(0, 1 / width, (count, nz))))
        self.register_buffer("phase", torch.as_tensor(rng.uniform(0, 2 * np.pi, count)))
        self.last = nn.Linear(count + linear * nz, nr, bias=False, dtype=torch.float64)
        nn.init.zeros_(self.last.weight)

    def forward(self, z: Tensor) -> Tensor:
        z = self.input(z)
        waves = torch.cos(z @ self.frequency.T + self.phase)
        return self.last(torch.cat([waves, z], -1) if self.linear else waves)

    def sized(self, nz: int, nr: int) -> Self:
        config: dict[str, Any] = self.config() | {"nz": nz, "nr": nr}
        fresh = type(self)(**config)
        if self.nz is not None:
            fresh.load_state_dict(self.state_dict())
        return fresh

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)

    def config(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("count", "width", "linear", "seed", "nz", "nr")}


@dataclass(frozen=True)
class Scenario:
    """A plant with a hidden force, and what is to be identified from its logs.

    parameters   declared: true value ↦ 20–30 % off, with a sign drawn for each run
    hidden       the unknown force of position, added to the input [N, N·m]
    unidentifiable   declared in a second model: more than the equations know apart; `apart` is
                 how many combinations they do
    noise        deviation on position and rate, of every state
    """

    name: str
    system: System
    parameters: tuple[str, ...]
    hidden: Callable[[Tensor], Tensor]
    feature: str
    unidentifiable: tuple[str, ...]
    apart: int
    noise: tuple[float, float]
    amplitude: float
    band: tuple[float, float]
    logs: int = 4
    steps: int = 204
    dt: float = 0.04


class _Force(nn.Module):
    """The hidden force as a residual of the plant; z is what the features say."""

    def __init__(self, force: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._force = force

    def forward(self, z: Tensor) -> Tensor:
        return self._force(z)


def _detent(z: Tensor) -> Tensor:
    """0.25 sin 3θ + 0.15 cos 2θ [N·m], from z = (sin θ, cos θ)."""
    s, c = z[..., :1], z[..., 1:]
    return 0.25 * (3 * s - 4 * s**3) + 0.15 * (c**2 - s**2)


def _track(z: Tensor) -> Tensor:
    """−8 s + 0.8 sin 6s + exp(−(s − 0.1)²/0.04) [N], from the position s [m]: a spring, cogging
    and a bump."""
    return -8 * z + 0.8 * torch.sin(6 * z) + torch.exp(-((z - 0.1) ** 2) / 0.04)


SCENARIOS = (
    Scenario(
        "pendulum",
        Pendulum(damping=0.1),
        ("mass", "damping"),
        _detent,
        "angle",
        ("mass", "length", "inertia", "damping", "motor_gain", "gravity"),
        3,
        (0.006, 0.02),
        0.9,
        (0.1, 2.0),
    ),
    Scenario(
        "cart-pole",
        CartPole(cart_damping=0.5, pole_damping=0.01),
        ("cart_mass", "pole_length", "cart_damping", "pole_damping"),
        _track,
        "position",
        (
            "cart_mass",
            "pole_mass",
            "pole_length",
            "pole_inertia",
            "cart_damping",
            "pole_damping",
            "motor_gain",
        ),
        5,
        (0.006, 0.02),
        0.35,
        (0.1, 2.0),
    ),
)


def simulated(scenario: Scenario, seed: int) -> Dataset:
    """Noisy logs of the plant with its hidden force, from rest, under multisines."""
    system = scenario.system
    plant = HybridModel(
        system,
        _Force(scenario.hidden),
        dt=scenario.dt,
        placement=placement.input,
        features=(scenario.feature,),
        substeps=2,
    )
    assert plant.residual is not None
    plant.residual.gate.data.fill_(1.0)  # type: ignore[union-attr]
    wave = Multisine(system.inputs, amplitude=scenario.amplitude, band=scenario.band)
    rng = np.random.default_rng((3, seed))
    inputs = []
    for k in range(scenario.logs):
        wave.reset(1000 * seed + k)
        still = np.zeros(system.nx)
        inputs.append([wave(i * scenario.dt, still) for i in range(scenario.steps)])
    u = torch.tensor(np.array(inputs))
    with torch.no_grad():
        x = plant.rollout(u.new_zeros(scenario.logs, system.nx), u).numpy()
    rates = [i in system.velocity_rows for i in range(system.nx)]
    spread = np.where(rates, scenario.noise[1], scenario.noise[0])
    y = x + spread * rng.standard_normal(x.shape)
    t = scenario.dt * np.arange(scenario.steps + 1.0)
    return Dataset([Trajectory(t=t, u=v, y=w) for v, w in zip(u.numpy(), y, strict=True)])


def one_run(scenario: Scenario, seed: int) -> tuple[Mapping[str, tuple[float, bool]], bool]:
    """Of each parameter its relative error and whether its interval holds the truth; and whether
    the unidentifiable combinations were reported."""
    torch.set_num_threads(1)
    rng = np.random.default_rng((5, seed))
    true = {n: float(scenario.system.parameters[n]) for n in scenario.parameters}
    off = {n: v * (1 + rng.choice((-1, 1)) * rng.uniform(0.2, 0.3)) for n, v in true.items()}
    data = simulated(scenario, seed)

    def model(system: System, names: Sequence[str]) -> HybridModel:
        return HybridModel(
            system,
            Waves(16, width=0.8, seed=seed),
            dt=scenario.dt,
            placement=placement.input,
            features=(scenario.feature,),
            fit_parameters=tuple(names),
        )

    guessed = scenario.system.with_parameters(**off)
    found = fit_jointly(model(guessed, scenario.parameters), data)
    about = found.information
    ends = about.intervals(0.95)
    result = {
        name: (
            float(about.values[k] / true[name] - 1),
            bool(ends[k, 0] <= true[name] <= ends[k, 1]),
        )
        for k, name in enumerate(about.names)
    }
    # declared on the fitted system, with the residual it has learned
    wide = HybridModel(
        found.model.system,
        found.model.residual,
        dt=scenario.dt,
        placement=placement.input,
        features=(scenario.feature,),
        fit_parameters=scenario.unidentifiable,
    )
    told = information(wide, data, horizon=50, residual="fixed")
    return result, told.rank == scenario.apart and len(told.unidentifiable) >= 1


def coverage(quick: bool, runs: int | None = None, workers: int = 2) -> Iterable[Row]:
    """Errors and intervals of all identifiable parameters, over runs with fresh everything: logs,
    noise, wrong start, random features."""
    runs = runs or (20 if quick else RUNS)
    for scenario in SCENARIOS:
        jobs = [(scenario.name, FIRST_SEED + k) for k in range(runs)]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_numbered, jobs))
        seconds = scenario.logs * scenario.steps * scenario.dt
        low, high = scenario.noise
        what = f"{scenario.name}, {seconds:.0f} s, noise {low:g} and {high:g}"
        for name in scenario.parameters:
            errors = np.array([100 * abs(result[name][0]) for result, _ in found])
            inside = 100 * float(np.mean([result[name][1] for result, _ in found]))
            ends = (float(np.median(errors)), float(errors.max()))
            yield Row(
                f"{what}: {name}, error in 95 % of runs",
                float(np.quantile(errors, 0.95)),
                "%",
                "≤ 2",
                runs,
                ends,
            )
            yield Row(f"{what}: {name}, largest error", ends[1], "%", "≤ 2", runs)
            yield Row(f"{what}: {name}, 95 % interval covers, lower", inside, "%", "≥ 92", runs)
            yield Row(f"{what}: {name}, 95 % interval covers, upper", inside, "%", "≤ 98", runs)
        told = 100 * float(np.mean([reported for _, reported in found]))
        yield Row(
            f"{scenario.name}: unidentifiable combinations reported", told, "%", "= 100", runs
        )


def _numbered(job: tuple[str, int]) -> tuple[Mapping[str, tuple[float, bool]], bool]:
    name, seed = job
    return one_run(next(s for s in SCENARIOS if s.name == name), seed)


# -- the damped pendulum of APHYNITY ---------------------------------------------------------------

TRUE_SQUARE, DAMPING = (2 * math.pi / 12) ** 2, 0.2  # s⁻², s⁻¹
LOGS, DT, SAMPLES = 25, 0.5, 40


@dataclass(frozen=True, kw_only=True)
class Frictionless(System):
    """θ̈ = −ω² sin θ, θ angle [rad], ω² `square` [s⁻²]."""

    square: float = Parameter(0.2, "s⁻²", "positive")
    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = ()

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[1], -p.square * ca.sin(x[0]))


def damped(seed: int) -> Dataset:
    """25 runs of θ̈ = −ω² sin θ − λ θ̇ from a ring of radius 1.3 … 2.3 about rest, 40 samples each.

    As in the authors' code (datasets/pendulum.py): directions uniform in the square, θ and θ̇ in
    s.i. units, DOP853 with a relative tolerance of 1e-10.
    """
    rng = np.random.default_rng((8, seed))
    t = DT * np.arange(float(SAMPLES))
    logs = []
    for _ in range(LOGS):
        y = rng.uniform(-1, 1, 2)
        x0 = y / np.linalg.norm(y) * rng.uniform(1.3, 2.3)

        def f(t: float, x: np.ndarray) -> list[float]:
            return [x[1], -TRUE_SQUARE * math.sin(x[0]) - DAMPING * x[1]]

        run = scipy.integrate.solve_ivp(
            f, (0, t[-1]), x0, method="DOP853", t_eval=t, rtol=1e-10, atol=1e-12
        )
        logs.append(Trajectory(t=t, u=np.empty((SAMPLES - 1, 0)), y=run.y.T))
    return Dataset(logs)


def decomposed(seed: int) -> tuple[float, float]:
    """ω² found and the mean square error of forecasts of 40 samples from unseen initial states.

    The residual sees angle and rate, and so could do what ω² does: the smallest residual decides,
    in the mean over independent angles and rates, in which friction and gravity are orthogonal
    (along the logs, which all lose energy, they are not).
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng((9, seed))
    model = HybridModel(
        Frictionless(square=TRUE_SQUARE * rng.uniform(0.5, 1.5)),
        Waves(20, width=2.5, linear=True, seed=seed),
        dt=DT,
        substeps=4,
        fit_parameters=("square",),
    )
    found = fit_jointly(
        model,
        damped(seed),
        horizons=(3, SAMPLES - 1),
        noise=1e-3,  # there is none; a price in which errors below this are not worth a residual
        residual_deviation=1.0,
        reference="marginals",
        tolerance=1e-4,
    )
    test = damped(100_000 + seed)
    y = torch.tensor(np.array([log.y for log in test]))
    with torch.no_grad():
        forecast = found.model.rollout(y[:, 0], y.new_zeros(LOGS, SAMPLES - 1, 0))
    return found.model.parameter_values()["square"], float((forecast - y).square().mean())


def aphynity(quick: bool) -> Iterable[Row]:
    """Published, Table 1 (c), "APHYNITY Param ODE (ω0)": log MSE −7.86 ± 0.60, parameter 4.0 %.

    Their logarithm is taken as the decimal one; the natural one would make the bar easier. Their
    code measures the error of ω², which is twice that of ω.
    """
    found = [decomposed(FIRST_SEED + k) for k in range(2 if quick else 5)]
    errors = [100 * abs(square / TRUE_SQUARE - 1) for square, _ in found]
    logs = [math.log10(mse) for _, mse in found]
    n = len(found)

    def ends(values: Sequence[float]) -> tuple[float, float]:
        return min(values), max(values)

    yield Row(
        "damped pendulum, error of ω² (published 4.0)",
        float(np.mean(errors)),
        "%",
        "≤ 2",
        n,
        ends(errors),
    )
    yield Row(
        "damped pendulum, log10 MSE of forecasts (published −7.86)",
        float(np.mean(logs)),
        "",
        "≤ -7.86",
        n,
        ends(logs),
    )


PARTS: Mapping[str, Callable[[bool], Iterable[Row]]] = {"coverage": coverage, "aphynity": aphynity}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    rows = [row for name in chosen for row in PARTS[name](arguments.quick)]
    keep = len(chosen) < len(PARTS)
    sys.exit(not publish("Identification", rows, arguments.json, keep=keep))


if __name__ == "__main__":
    main()
