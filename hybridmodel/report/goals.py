"""Which pictures belong to which kind of goal."""

from __future__ import annotations

from hybridmodel.report.following import FollowingPictures
from hybridmodel.report.goal import Goal
from hybridmodel.report.swing_up import SwingUpPictures
from hybridmodel.tasks.following import Following
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Control


def goal_of(control: Control) -> Goal:
    """The pictures of this goal; TypeError for a kind that has none."""
    match control:
        case SwingUp():
            return SwingUpPictures(control)
        case Following():
            return FollowingPictures(control)
    raise TypeError(f"there are no pictures of a {type(control).__name__}")
