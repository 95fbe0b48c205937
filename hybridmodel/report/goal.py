"""What a report shows of a goal: its own pictures of the closed loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import SubFigure

from hybridmodel.demo.pipeline import Run
from hybridmodel.demo.record import Record
from hybridmodel.report.drawing import Picture
from hybridmodel.tasks.task import Task


class Goal(ABC):
    """The pictures of one kind of `Control`."""

    @abstractmethod
    def plans(self, record: Record) -> Picture:
        """What the hybrid planned and what the plant did under each row."""

    @abstractmethod
    def interval(self, task: Task) -> int:
        """Control steps from frame to frame of a moving picture."""

    @abstractmethod
    def size(self, task: Task) -> tuple[int, int]:
        """Width and height of a frame."""

    @abstractmethod
    def caption(self, record: Record, run: Run, t: float) -> str:
        """What stands above a frame."""

    @abstractmethod
    def moved(self, record: Record, planner: str) -> str:
        """What the moving picture shows."""

    @abstractmethod
    def moments(self, task: Task, x: np.ndarray) -> Sequence[int]:
        """Samples of the states (T, nx) that a filmstrip shows."""

    @abstractmethod
    def still(self, figure: SubFigure, record: Record, planner: str, shown: Sequence[int]) -> None:
        """The closed loops of one planner below a filmstrip of the hybrid at `shown`."""
