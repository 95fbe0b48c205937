"""The tasks of `hybridmodel demo` by name; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hybridmodel.demo import kuka, quadrotor
from hybridmodel.demo.cartpole import CARTPOLE
from hybridmodel.demo.double_pendulum import DOUBLE_PENDULUM
from hybridmodel.demo.pendulum import PENDULUM
from hybridmodel.demo.task import Task

TASKS: Mapping[str, Callable[[], Task]] = {
    "cartpole": lambda: CARTPOLE,
    "pendulum": lambda: PENDULUM,
    "double-pendulum": lambda: DOUBLE_PENDULUM,
    "quadrotor": quadrotor.task,
    "kuka": kuka.task,
}
