"""hybridmodel: known physics in CasADi plus learned residuals in torch, as one model.

    ẋ = f(x, u; p) ⊕ r_θ(φ(x, u))

Names are loaded when they are first used, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import physics as physics
    import residuals as residuals
    from hybridmodel import envs as envs
    from hybridmodel import placement as placement
    from hybridmodel import rl as rl
    from hybridmodel.agreement import Agreement as Agreement
    from hybridmodel.agreement import check_agreement as check_agreement
    from hybridmodel.bridges.casadi_to_torch import to_torch as to_torch
    from hybridmodel.bridges.network import pack_weights as pack_weights
    from hybridmodel.bridges.onnx_to_casadi import from_onnx as from_onnx
    from hybridmodel.bridges.torch_to_casadi import to_casadi as to_casadi
    from hybridmodel.checkpoint import CheckpointError as CheckpointError
    from hybridmodel.checkpoint import load as load
    from hybridmodel.checkpoint import save as save
    from hybridmodel.closed_loop import Predictor as Predictor
    from hybridmodel.closed_loop import RecedingHorizon as RecedingHorizon
    from hybridmodel.closed_loop import Recording as Recording
    from hybridmodel.closed_loop import receding_horizon as receding_horizon
    from hybridmodel.closed_loop import replay as replay
    from hybridmodel.collection import Policy as Policy
    from hybridmodel.collection import collect as collect
    from hybridmodel.costs import Cost as Cost
    from hybridmodel.costs import CostToGo as CostToGo
    from hybridmodel.costs import MinimumTime as MinimumTime
    from hybridmodel.costs import Quadratic as Quadratic
    from hybridmodel.costs import Tracking as Tracking
    from hybridmodel.data import Dataset as Dataset
    from hybridmodel.data import LogReport as LogReport
    from hybridmodel.data import Table as Table
    from hybridmodel.data import Trajectory as Trajectory
    from hybridmodel.data import align as align
    from hybridmodel.data import check_leakage as check_leakage
    from hybridmodel.data import context_as_exogenous as context_as_exogenous
    from hybridmodel.data import derive_rates as derive_rates
    from hybridmodel.data import differentiate as differentiate
    from hybridmodel.data import estimate_delay as estimate_delay
    from hybridmodel.data import inspect_log as inspect_log
    from hybridmodel.data import load_npz as load_npz
    from hybridmodel.data import read_csv as read_csv
    from hybridmodel.data import read_log as read_log
    from hybridmodel.data import read_table as read_table
    from hybridmodel.data import save_npz as save_npz
    from hybridmodel.data import write_csv as write_csv
    from hybridmodel.envs import ParityReport as ParityReport
    from hybridmodel.envs import check_parity as check_parity
    from hybridmodel.estimators import EKF as EKF
    from hybridmodel.estimators import Estimator as Estimator
    from hybridmodel.estimators import MeasuredState as MeasuredState
    from hybridmodel.estimators import MovingHorizon as MovingHorizon
    from hybridmodel.estimators import with_states as with_states
    from hybridmodel.evaluation import Evaluation as Evaluation
    from hybridmodel.evaluation import evaluate as evaluate
    from hybridmodel.excitation import Chirp as Chirp
    from hybridmodel.excitation import Hold as Hold
    from hybridmodel.excitation import Multisine as Multisine
    from hybridmodel.excitation import RandomSteps as RandomSteps
    from hybridmodel.export import Exported as Exported
    from hybridmodel.fitting import FitResult as FitResult
    from hybridmodel.fitting import fit as fit
    from hybridmodel.fitting import identify as identify
    from hybridmodel.fitting import identify_delay as identify_delay
    from hybridmodel.fitting import regress as regress
    from hybridmodel.identification import Absorbed as Absorbed
    from hybridmodel.identification import Design as Design
    from hybridmodel.identification import Information as Information
    from hybridmodel.identification import JointFit as JointFit
    from hybridmodel.identification import Profile as Profile
    from hybridmodel.identification import absorbed as absorbed
    from hybridmodel.identification import excite as excite
    from hybridmodel.identification import fit_jointly as fit_jointly
    from hybridmodel.identification import information as information
    from hybridmodel.identification import profile as profile
    from hybridmodel.identification import project as project
    from hybridmodel.laws import Finding as Finding
    from hybridmodel.laws import LawReport as LawReport
    from hybridmodel.laws import check_residual as check_residual
    from hybridmodel.laws import check_system as check_system
    from hybridmodel.learned import Learned as Learned
    from hybridmodel.model import HybridModel as HybridModel
    from hybridmodel.online import adapt as adapt
    from hybridmodel.planners import CEM as CEM
    from hybridmodel.planners import ICEM as ICEM
    from hybridmodel.planners import ILQR as ILQR
    from hybridmodel.planners import MPPI as MPPI
    from hybridmodel.planners import SQP as SQP
    from hybridmodel.planners import Collocation as Collocation
    from hybridmodel.planners import CubicKnots as CubicKnots
    from hybridmodel.planners import EveryStep as EveryStep
    from hybridmodel.planners import GradientDescent as GradientDescent
    from hybridmodel.planners import Held as Held
    from hybridmodel.planners import Knots as Knots
    from hybridmodel.planners import LinearKnots as LinearKnots
    from hybridmodel.planners import MultipleShooting as MultipleShooting
    from hybridmodel.planners import Plan as Plan
    from hybridmodel.planners import PlanCheck as PlanCheck
    from hybridmodel.planners import Planner as Planner
    from hybridmodel.planners import Portfolio as Portfolio
    from hybridmodel.planners import RandomShooting as RandomShooting
    from hybridmodel.planners import Rates as Rates
    from hybridmodel.planners import RefinedCEM as RefinedCEM
    from hybridmodel.planners import Sampling as Sampling
    from hybridmodel.planners import Sensitivity as Sensitivity
    from hybridmodel.planners import Status as Status
    from hybridmodel.planners import Worker as Worker
    from hybridmodel.planners import check_plan as check_plan
    from hybridmodel.planners import differentiable as differentiable
    from hybridmodel.planners import sensitivity as sensitivity
    from hybridmodel.planners import tvlqr as tvlqr
    from hybridmodel.problem import Caution as Caution
    from hybridmodel.problem import Chance as Chance
    from hybridmodel.problem import Expected as Expected
    from hybridmodel.problem import MeanDeviation as MeanDeviation
    from hybridmodel.problem import OptimalControlProblem as OptimalControlProblem
    from hybridmodel.problem import Soft as Soft
    from hybridmodel.problem import Stop as Stop
    from hybridmodel.problem import TailMean as TailMean
    from hybridmodel.problem import Worst as Worst
    from hybridmodel.twins import free_time as free_time
    from hybridmodel.uncertainty import Calibration as Calibration
    from hybridmodel.uncertainty import Noise as Noise
    from hybridmodel.uncertainty import Prediction as Prediction
    from hybridmodel.uncertainty import Recalibration as Recalibration
    from hybridmodel.uncertainty import calibration as calibration
    from hybridmodel.uncertainty import disagreement as disagreement
    from hybridmodel.uncertainty import propagate as propagate
    from hybridmodel.uncertainty import recalibrate as recalibrate
    from hybridmodel.uncertainty import rollout_disagreement as rollout_disagreement
    from hybridmodel.uncertainty import split_noise as split_noise
    from hybridmodel.uncertainty import support as support

__version__ = "0.1.0"

_HOMES = {
    "hybridmodel.agreement": ("Agreement", "check_agreement"),
    "hybridmodel.checkpoint": ("CheckpointError", "load", "save"),
    "hybridmodel.closed_loop": (
        "Predictor",
        "RecedingHorizon",
        "Recording",
        "receding_horizon",
        "replay",
    ),
    "hybridmodel.collection": ("Policy", "collect"),
    "hybridmodel.costs": ("Cost", "CostToGo", "MinimumTime", "Quadratic", "Tracking"),
    "hybridmodel.data": (
        "Dataset",
        "LogReport",
        "Table",
        "Trajectory",
        "align",
        "check_leakage",
        "context_as_exogenous",
        "derive_rates",
        "differentiate",
        "estimate_delay",
        "inspect_log",
        "load_npz",
        "read_csv",
        "read_log",
        "read_table",
        "save_npz",
        "write_csv",
    ),
    "hybridmodel.envs": ("ParityReport", "check_parity"),
    "hybridmodel.estimators": (
        "EKF",
        "Estimator",
        "MeasuredState",
        "MovingHorizon",
        "with_states",
    ),
    "hybridmodel.evaluation": ("Evaluation", "evaluate"),
    "hybridmodel.excitation": ("Chirp", "Hold", "Multisine", "RandomSteps"),
    "hybridmodel.export": ("Exported",),
    "hybridmodel.fitting": ("FitResult", "fit", "identify", "identify_delay", "regress"),
    "hybridmodel.identification": (
        "Absorbed",
        "Design",
        "Information",
        "JointFit",
        "Profile",
        "absorbed",
        "excite",
        "fit_jointly",
        "information",
        "profile",
        "project",
    ),
    "hybridmodel.laws": ("Finding", "LawReport", "check_residual", "check_system"),
    "hybridmodel.learned": ("Learned",),
    "hybridmodel.model": ("HybridModel",),
    "hybridmodel.online": ("adapt",),
    "hybridmodel.planners": (
        "CEM",
        "ICEM",
        "ILQR",
        "MPPI",
        "SQP",
        "Collocation",
        "CubicKnots",
        "EveryStep",
        "GradientDescent",
        "Held",
        "Knots",
        "LinearKnots",
        "MultipleShooting",
        "Plan",
        "PlanCheck",
        "Planner",
        "Portfolio",
        "RandomShooting",
        "Rates",
        "RefinedCEM",
        "Sampling",
        "Sensitivity",
        "Status",
        "Worker",
        "check_plan",
        "differentiable",
        "sensitivity",
        "tvlqr",
    ),
    "hybridmodel.problem": (
        "Caution",
        "Chance",
        "Expected",
        "MeanDeviation",
        "OptimalControlProblem",
        "Soft",
        "Stop",
        "TailMean",
        "Worst",
    ),
    "hybridmodel.twins": ("free_time",),
    "hybridmodel.uncertainty": (
        "Calibration",
        "Noise",
        "Prediction",
        "Recalibration",
        "calibration",
        "disagreement",
        "propagate",
        "recalibrate",
        "rollout_disagreement",
        "split_noise",
        "support",
    ),
    "hybridmodel.bridges.network": ("pack_weights",),
    "hybridmodel.bridges.onnx_to_casadi": ("from_onnx",),
    "hybridmodel.bridges.torch_to_casadi": ("to_casadi",),
    "hybridmodel.bridges.casadi_to_torch": ("to_torch",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {
    "envs": "hybridmodel.envs",
    "physics": "physics",
    "placement": "hybridmodel.placement",
    "residuals": "residuals",
    "rl": "hybridmodel.rl",
}
__all__ = sorted((*_HOME, *_MODULES))  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'hybridmodel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _refuse_shadowed() -> None:
    """A user's own physics.py in front of ours would give errors far from their cause."""
    for name in ("physics", "residuals"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin) if spec and spec.origin else None
        wanted = Path(__file__).parent.with_name(name) / "__init__.py"
        if found is None or found.resolve() != wanted.resolve():
            raise ImportError(
                f"hybridmodel needs its own package {name!r}, but Python finds {found}; "
                f"rename that file or folder, or remove it from the import path"
            )


_refuse_shadowed()
