"""The published machines: one step by hand, and the known physics is what friction leaves."""

from __future__ import annotations

from math import pi, sin

import numpy as np
import pytest
import torch

from benchmarks.rl.phihp.method import SETTINGS, untrained
from benchmarks.rl.phihp.plain import RATES, STAGES
from benchmarks.rl.phihp.plants import Accelerations, Plant, cart, rod, two_links
from benchmarks.rl.phihp.systems import Cart, Rod, TwoLinks
from benchmarks.rl.phihp.tasks import TASKS, Task
from hybridmodel.rl.reward import Reward

FRICTIONLESS: dict[type, Accelerations] = {
    Rod: rod(0.0),
    Cart: cart((0.0, 0.0)),
    TwoLinks: two_links((0.0, 0.0)),
}


def _drawn(task: Task, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    inputs = task.system.inputs
    x = rng.uniform(-1.5, 1.5, (count, task.system.nx))
    return x, rng.uniform([s.low for s in inputs], [s.high for s in inputs], (count, len(inputs)))


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_without_friction_the_plant_is_the_known_physics(task: Task) -> None:
    plant = task.plant()
    plant.accelerations = FRICTIONLESS[type(task.system)]
    model = untrained(task, 0)
    for x, u in zip(*_drawn(task), strict=True):
        plant.reset(seed=0, options={"state": x})
        after = plant.step(u)[0]
        with torch.no_grad():
            known = model(torch.tensor(x), torch.tensor(u)).numpy()
        assert after == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_plain_torch_has_the_same_physics_and_costs(task: Task) -> None:
    x, u = map(torch.tensor, _drawn(task))
    n = task.system.nx // 2
    with torch.no_grad():
        after = untrained(task, 0)(x, u)
    rates = RATES[type(task.system)](x, u)
    assert torch.allclose(after[:, n:], x[:, n:] + task.dt * rates, atol=1e-12)
    stage = STAGES[task.name](x.float(), u.float()).double()
    assert torch.allclose(-Reward(task.system, task.cost)(x, u), stage, atol=1e-5)


def test_pendulum_steps_as_written_by_hand() -> None:
    plant = TASKS["pendulum"].plant()
    plant.reset(seed=0, options={"state": [0.5, 1.0]})
    x, reward, ended, _, _ = plant.step(np.array([2.0]))
    rate = 1.0 + 0.05 * (15 * sin(0.5) + 3 * 2.0 - 0.5 * 1.0)
    assert x == pytest.approx([0.5 + 0.05 * rate, rate])
    assert reward == pytest.approx(-(0.5**2 + 0.1 + 0.004))
    assert not ended


def test_swing_up_keeps_the_published_limit_of_speed() -> None:
    plant = TASKS["pendulum swing-up"].plant()
    plant.reset(seed=0, options={"state": [pi / 2, 8.0]})
    assert plant.step(np.array([2.0]))[0][1] == 8.0


@pytest.mark.parametrize("name", ["acrobot", "acrobot swing-up"])
def test_links_move_with_the_rates_before_their_limit(name: str) -> None:
    task = TASKS[name]
    plant, fast = task.plant(), np.array([0.3, 0.8, 4 * pi, 9 * pi])
    u = np.zeros(task.system.nu)
    free = fast[2:] + 0.2 * plant.accelerations(fast, u)
    limited = np.clip(free, [-4 * pi, -9 * pi], [4 * pi, 9 * pi])
    assert (np.abs(free) > np.abs(limited)).any()
    plant.reset(seed=0, options={"state": fast})
    x = plant.step(u)[0]
    assert x == pytest.approx(np.concatenate([fast[:2] + 0.2 * free, limited]))


def test_the_rod_moves_with_the_limited_rate() -> None:
    plant = TASKS["pendulum swing-up"].plant()
    plant.reset(seed=0, options={"state": [pi / 2, 8.0]})
    assert plant.step(np.array([2.0]))[0] == pytest.approx([pi / 2 + 0.05 * 8.0, 8.0])


def test_friction_slows_the_hanging_elbow_and_not_the_shoulder() -> None:
    x, u = np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(1)
    assert two_links()(x, u)[1] < two_links((0.01, 0.0))(x, u)[1]
    x = np.array([0.0, 0.0, 1.0, 0.0])
    assert two_links((0.01, 0.0))(x, u)[0] > two_links((0.0, 0.0))(x, u)[0]


def test_episodes_end_where_published() -> None:
    def ends(plant: Plant, state: list[float]) -> bool:
        return plant.ends(np.array(state))

    cartpole, acrobot = TASKS["cart-pole"].plant(), TASKS["acrobot"].plant()
    assert ends(cartpole, [0, 0.21, 0, 0])
    assert not ends(cartpole, [0, 0.2, 0, 0])
    assert ends(acrobot, [pi, 0, 0, 0])
    assert not ends(acrobot, [0.0, 0, 0, 0])
    for task in TASKS.values():
        plant = task.plant()
        state = torch.tensor([[pi, 0.0, 0.0, 0.0][: task.system.nx]])
        assert bool(task.over(state)) is plant.ends(state[0].numpy())


def test_every_task_has_settings() -> None:
    assert SETTINGS.keys() == TASKS.keys()
