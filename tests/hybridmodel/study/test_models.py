"""What each model of a study is made of, and that it can be planned with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hybridmodel import Dataset, HybridModel, collect
from hybridmodel.excitation import RandomSteps
from hybridmodel.study.models import MODELS, RECALLED, kind_of
from hybridmodel.tasks.study_tasks import pendulum
from residuals import MLP, Ensemble, Linear, Window

_RECIPE = replace(pendulum().recipe, horizons=(1,), epochs=(1,), starts=1, hidden=(8,))
TASK = replace(pendulum().under("lag"), recipe=_RECIPE)


@pytest.fixture(scope="module")
def logs() -> tuple[Dataset, Dataset]:
    """Of the nominal pendulum, shaken."""
    plant = TASK.plant("ode")
    policy = RandomSteps(TASK.system.inputs, hold=(0.1, 0.5))
    train, held_out = (
        collect(plant, policy, steps=60, seed=s, state=TASK.control.start(TASK.system))
        for s in (0, 1)
    )
    return Dataset([train]), Dataset([held_out])


@pytest.mark.parametrize("name", [name for name, kind in MODELS.items() if not kind.drawn])
def test_each_is_a_model_of_the_plant(name: str, logs: tuple[Dataset, Dataset]) -> None:
    made = kind_of(name).make(TASK, *logs, 0)
    family = {
        "network": MLP,
        "hybrid": MLP,
        "ensemble": Ensemble,
        "windowed": Window,
        "adaptive": Linear,
    }
    assert isinstance(made.residual, family.get(name, type(None)))
    assert isinstance(made, HybridModel)
    start = torch.tensor(TASK.control.start(TASK.system))
    if name == "oracle":  # the lag is state
        start = torch.tensor(made.system.neutral)
    x = made.initial_state(start)
    assert torch.isfinite(made(x, torch.zeros(1, dtype=torch.float64))).all()


def test_a_windowed_residual_sees_the_last_steps(logs: tuple[Dataset, Dataset]) -> None:
    assert kind_of("windowed").make(TASK, *logs, 0).memory_steps == RECALLED
