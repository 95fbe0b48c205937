"""The picture of a calibration says what the calibration says."""

from __future__ import annotations

import numpy as np

from hybridmodel.report.calibration import calibration_picture
from hybridmodel.uncertainty import Calibration


def found() -> Calibration:
    levels = (0.5, 0.9)
    return Calibration(
        coverage=np.array([[0.91, 0.88], [0.93, 0.91], [0.87, 0.9]]),
        reliability=np.array([[0.52, 0.5], [0.9, 0.897]]),
        width=np.array([[0.33, 3.3], [0.4, 4.0], [0.5, 5.0]]),
        rmse=np.array([[0.1, 1.0], [0.12, 1.2], [0.15, 1.6]]),
        signals=("angle", "rate"),
        level=0.9,
        windows=2040,
        dt=0.04,
        levels=levels,
    )


def test_the_finding_is_the_pooled_coverage_and_the_picture_repeats() -> None:
    first, second = calibration_picture(found()), calibration_picture(found())
    assert first == second
    assert first.image.startswith("<svg")
    assert "88.5 to 92.0 %" in first.finding
    assert "2040 windows" in first.reading
