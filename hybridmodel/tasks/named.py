"""Tasks by name; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hybridmodel.tasks import kuka, quadrotor
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.double_pendulum import DOUBLE_PENDULUM
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.task import Task

TASKS: Mapping[str, Callable[[], Task]] = {
    "cartpole": lambda: CARTPOLE,
    "pendulum": lambda: PENDULUM,
    "double-pendulum": lambda: DOUBLE_PENDULUM,
    "quadrotor": quadrotor.task,
    "kuka": kuka.task,
}
