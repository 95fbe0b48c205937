"""The interquartile mean and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.statistics import interquartile_mean, interval


def test_it_is_the_mean_of_the_middle_half() -> None:
    assert interquartile_mean([1e9, 2.0, 4.0, -1e9]) == 3.0
    assert interquartile_mean([5.0]) == 5.0
    ten = np.arange(10.0) ** 2  # 2.5 of them are left out at each end
    wanted = (0.5 * ten[2] + ten[3:7].sum() + 0.5 * ten[7]) / 5
    assert interquartile_mean(ten) == pytest.approx(wanted)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = interval(generator.standard_normal(20), draws=300)
        hits += low <= 0 <= high
    assert 0.85 <= hits / 200 <= 1.0


def test_the_same_numbers_give_the_same_interval() -> None:
    values = np.random.default_rng(1).standard_normal(9)
    assert interval(values) == interval(values[::-1].copy()[::-1])
    low, high = interval(np.full(7, 2.5))
    assert (low, high) == pytest.approx((2.5, 2.5))


def test_what_never_ends_counts_as_the_worst() -> None:
    assert interquartile_mean([1.0, 2.0, 3.0, np.inf]) == 2.5
    assert interquartile_mean([1.0, 2.0, np.inf, np.inf]) == np.inf
    assert interval([1.0, 2.0, 3.0, np.inf])[1] == np.inf


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]]])
def test_what_is_no_list_of_numbers_is_refused(values: list) -> None:
    with pytest.raises(ValueError, match="values must be"):
        interquartile_mean(values)
