"""Thousands of copies of a model step at once, each as the model itself does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import hybridmodel as hm
from physics import Pendulum
from residuals import MLP, Ensemble

SYSTEM = Pendulum()
COST = hm.Quadratic(SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01})
MANY = 4096


def bent(residual: torch.nn.Module) -> hm.HybridModel:
    """A model whose residual is not zero."""
    model = hm.HybridModel(SYSTEM, residual, dt=0.05)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.residual.parameters():  # type: ignore[union-attr]
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return model.requires_grad_(False).eval()


def starts(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def test_every_row_is_a_step_of_the_model() -> None:
    model, x = bent(MLP((16,))), starts(MANY)
    env = model.vector_env(COST, MANY, starts=x, episode_steps=50)
    o, _ = env.reset(seed=0, options={"state": x.numpy()})
    assert o.shape == (MANY, 3)
    actions = env.action_space.sample()
    u = env.coordinates.inputs(torch.as_tensor(actions, dtype=torch.float64))
    o, reward, terminated, truncated, info = env.step(actions)
    torch.testing.assert_close(torch.tensor(info["x"]), model(x, u), rtol=1e-9, atol=1e-9)
    for i in range(0, MANY, 512):
        alone = model(x[i], u[i]).numpy()
        np.testing.assert_allclose(info["x"][i], alone, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(o[i, :2], [np.sin(alone[0]), np.cos(alone[0])], atol=1e-6)
    torch.testing.assert_close(torch.tensor(reward), hm.rl.Reward(SYSTEM, COST)(x, u))
    assert not (terminated | truncated).any()


def test_members_and_rules_are_those_of_the_environment() -> None:
    model, x = bent(Ensemble((8,), count=3)), starts(64)
    rules = {"starts": x, "episode_steps": 3, "member": "fixed", "penalty": 0.5, "stop": 5.0}
    env = model.vector_env(COST, 64, **rules)
    same = hm.rl.ModelVectorEnv(model, COST, 64, **rules)
    first, again = env.reset(seed=4)[0], same.reset(seed=4)[0]
    np.testing.assert_array_equal(first, again)
    for k in range(4):
        actions = np.full((64, 1), 0.3 - 0.1 * k, dtype=np.float32)
        for one, other in zip(env.step(actions)[:4], same.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(one, other)


def test_errors_are_named() -> None:
    with pytest.raises(ValueError, match="n must be a whole number"):
        bent(MLP((4,))).vector_env(COST, 0, starts=starts(3), episode_steps=5)
    with pytest.raises(ValueError, match=r"starts must have shape \(N, 2\)"):
        bent(MLP((4,))).vector_env(COST, 2, starts=starts(3)[:, :1], episode_steps=5)


def test_without_gymnasium_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["gymnasium"] = None
import torch
import hybridmodel as hm
model = hm.HybridModel(hm.physics.Pendulum(), dt=0.05)
try:
    model.vector_env(lambda x, u: x[..., 0], 2, starts=torch.zeros(1, 2), episode_steps=3)
except ImportError as error:
    assert "pip install hybridmodel[rl]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
