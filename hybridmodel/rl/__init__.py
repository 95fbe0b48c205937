"""Model-based reinforcement learning with a physics prior.

    learn          collect, fit, plan, again                 dyna    a policy taught by the model
    Reward, fit_reward, Curiosity                            what is wanted
    Value, WithValue, iterate_value                          what lies behind the horizon
    Agent, Coordinates, Scaled                               policies, on plants
    ModelEnv, ModelVectorEnv, StableVectorEnv                and in models
    branched, Imagination, Transitions, Episode              steps, imagined and real
    InverseModel, fit_inverse, solve_inverse, proposal       inputs from one state to another
    query_errors, exploitation_gap, event_errors             whether the model serves control
    fit_encoder, Latent, Seeing, watch                       states from images

Names are loaded when they are first used. Agents and environments need hybridmodel[rl].
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.rl.agent import Agent as Agent
    from hybridmodel.rl.branching import branched as branched
    from hybridmodel.rl.coordinates import Coordinates as Coordinates
    from hybridmodel.rl.exploitation import ExploitationGap as ExploitationGap
    from hybridmodel.rl.exploitation import exploitation_gap as exploitation_gap
    from hybridmodel.rl.exploration import Curiosity as Curiosity
    from hybridmodel.rl.imagination import Imagination as Imagination
    from hybridmodel.rl.imagination import OutOfBounds as OutOfBounds
    from hybridmodel.rl.inverse import InverseModel as InverseModel
    from hybridmodel.rl.inverse import fit_inverse as fit_inverse
    from hybridmodel.rl.latent import Encoder as Encoder
    from hybridmodel.rl.latent import Frames as Frames
    from hybridmodel.rl.latent import FreeLatent as FreeLatent
    from hybridmodel.rl.latent import FreePolicy as FreePolicy
    from hybridmodel.rl.latent import Latent as Latent
    from hybridmodel.rl.latent import PixelPolicy as PixelPolicy
    from hybridmodel.rl.latent import Seeing as Seeing
    from hybridmodel.rl.latent import fit_encoder as fit_encoder
    from hybridmodel.rl.latent import fit_latent as fit_latent
    from hybridmodel.rl.latent import watch as watch
    from hybridmodel.rl.learning import Learning as Learning
    from hybridmodel.rl.learning import learn as learn
    from hybridmodel.rl.learning import trial as trial
    from hybridmodel.rl.mbpo import Dyna as Dyna
    from hybridmodel.rl.mbpo import Schedule as Schedule
    from hybridmodel.rl.mbpo import dyna as dyna
    from hybridmodel.rl.model_env import ModelEnv as ModelEnv
    from hybridmodel.rl.model_env import ModelVectorEnv as ModelVectorEnv
    from hybridmodel.rl.model_env import Scaled as Scaled
    from hybridmodel.rl.proposals import ahead as ahead
    from hybridmodel.rl.proposals import proposal as proposal
    from hybridmodel.rl.queries import QueryErrors as QueryErrors
    from hybridmodel.rl.queries import query_errors as query_errors
    from hybridmodel.rl.rare_events import EventErrors as EventErrors
    from hybridmodel.rl.rare_events import event_errors as event_errors
    from hybridmodel.rl.reward import LearnedReward as LearnedReward
    from hybridmodel.rl.reward import Reward as Reward
    from hybridmodel.rl.reward import fit_reward as fit_reward
    from hybridmodel.rl.solved_inverse import ModelInverse as ModelInverse
    from hybridmodel.rl.solved_inverse import solve_inverse as solve_inverse
    from hybridmodel.rl.stable_env import StableVectorEnv as StableVectorEnv
    from hybridmodel.rl.transitions import Episode as Episode
    from hybridmodel.rl.transitions import Transitions as Transitions
    from hybridmodel.rl.transitions import run_episode as run_episode
    from hybridmodel.rl.value import Value as Value
    from hybridmodel.rl.value import WithValue as WithValue
    from hybridmodel.rl.value_iteration import iterate_value as iterate_value

_HOMES = {
    "agent": ("Agent",),
    "branching": ("branched",),
    "coordinates": ("Coordinates",),
    "exploitation": ("ExploitationGap", "exploitation_gap"),
    "exploration": ("Curiosity",),
    "imagination": ("Imagination", "OutOfBounds"),
    "inverse": ("InverseModel", "fit_inverse"),
    "latent": (
        "Encoder",
        "Frames",
        "FreeLatent",
        "FreePolicy",
        "Latent",
        "PixelPolicy",
        "Seeing",
        "fit_encoder",
        "fit_latent",
        "watch",
    ),
    "learning": ("Learning", "learn", "trial"),
    "mbpo": ("Dyna", "Schedule", "dyna"),
    "model_env": ("ModelEnv", "ModelVectorEnv", "Scaled"),
    "proposals": ("ahead", "proposal"),
    "queries": ("QueryErrors", "query_errors"),
    "rare_events": ("EventErrors", "event_errors"),
    "reward": ("LearnedReward", "Reward", "fit_reward"),
    "solved_inverse": ("ModelInverse", "solve_inverse"),
    "stable_env": ("StableVectorEnv",),
    "transitions": ("Episode", "Transitions", "run_episode"),
    "value": ("Value", "WithValue"),
    "value_iteration": ("iterate_value",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_EXTRAS = {"gymnasium": "rl", "stable_baselines3": "rl"}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        hint = f"{name} needs {error.name}: pip install hybridmodel[{extra}]"
        raise ImportError(hint) from error
    found = globals()[name] = getattr(module, name)  # a verb may share its module's name
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
