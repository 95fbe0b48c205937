"""The models that a study compares: what each is made from and how.

physics     the nominal system                          the floor
identified  its declared parameters, fitted
network     no physics but q̇ = v
hybrid      identified physics and a residual
ensemble    a hybrid of five members, whose mean plans
windowed    a hybrid whose residual sees the last steps too, for lags and delays
adaptive    a hybrid whose last layer goes on learning in the loop
oracle      the system with its hidden effects in closed form   the ceiling
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from hybridmodel import placement
from hybridmodel.baselines import hybrid_row, identified_row, network_row, physics_row
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.study.attribution import PREFIX, knowing
from hybridmodel.study.measures import CEILING, FLOOR
from hybridmodel.tasks.oracle import oracle
from hybridmodel.tasks.task import Task
from residuals import MLP, Ensemble, Linear, Window

MEMBERS = 5  # of an ensemble
RECALLED = 3  # steps that a windowed residual sees
Make = Callable[[Task, Dataset, Dataset, int], HybridModel]  # task, train, validation, seed


@dataclass(frozen=True)
class Kind:
    """How a model is made.

    make    from a task, logs and a seed
    data    which amounts of data it is fitted to: "none", the "most", or "all" in turn
    placed  whether it has a residual whose placement can be chosen
    adapts  whether it goes on learning in the loop
    drawn   whether its logs are those of drawn plants
    unsure  whether it says how sure it is, so that its intervals can be checked
    """

    make: Make
    data: Literal["none", "most", "all"] = "all"
    placed: bool = False
    adapts: bool = False
    drawn: bool = False
    unsure: bool = False


def _physics(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    return physics_row(task.system, task.dt, task.recipe)


def _identified(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    return identified_row(task.system, train, validation, task.recipe, seed=seed).model


def _network(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    return network_row(task.system, train, validation, task.recipe, seed=seed)[0].model


def _hybrid(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    known = _identified(task, train, validation, seed)
    return hybrid_row(known, train, validation, task.recipe, seed=seed).model


def _ensemble(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    known = _identified(task, train, validation, seed)
    members = Ensemble(task.recipe.hidden, count=MEMBERS, seed=seed)
    return hybrid_row(known, train, validation, task.recipe, residual=members, seed=seed).model


def _windowed(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    known = _identified(task, train, validation, seed)
    recalling = Window(task.recipe.hidden, steps=RECALLED, seed=seed)
    return hybrid_row(known, train, validation, task.recipe, residual=recalling, seed=seed).model


def _adaptive(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    trained = _hybrid(task, train, validation, seed)
    assert isinstance(trained.residual, MLP)
    model = HybridModel(
        trained.system,
        Linear.from_mlp(trained.residual),
        dt=trained.dt,
        substeps=trained.substeps,
        placement=trained.placement,
        fit_parameters=trained.fit_parameters,
        integrator=trained.integrator,
        hold=trained.hold,
        features=trained.features,
    )
    with torch.no_grad():
        model.theta.copy_(trained.theta)
        model.noise.copy_(trained.noise)
    return model


def _oracle(task: Task, train: Dataset, validation: Dataset, seed: int) -> HybridModel:
    return oracle(task)


MODELS: Mapping[str, Kind] = {
    FLOOR: Kind(_physics, data="none"),
    "identified": Kind(_identified, data="most"),
    "network": Kind(_network),
    "hybrid": Kind(_hybrid, placed=True),
    "ensemble": Kind(_ensemble, placed=True, unsure=True),
    "windowed": Kind(_windowed, placed=True),
    "adaptive": Kind(_adaptive, placed=True, adapts=True),
    "randomised": Kind(_hybrid, placed=True, drawn=True),
    CEILING: Kind(_oracle, data="none"),
}


def kind_of(name: str) -> Kind:
    """The kind of a model's name; ValueError where there is none such."""
    if name.startswith(PREFIX):
        part = name.removeprefix(PREFIX)
        return Kind(lambda task, *_: oracle(knowing(task, part)), data="none")
    if name not in MODELS:
        raise ValueError(f"models: {name!r} is none of {list(MODELS)}")
    return MODELS[name]


def placed(task: Task, name: str) -> Task:
    """The task with its residual at another placement; "own" and "" keep that of its recipe."""
    if name in ("own", ""):
        return task
    chosen = next(p for p in placement.ALL if p.name == name)
    return replace(task, recipe=replace(task.recipe, placement=chosen))
