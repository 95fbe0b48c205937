"""Runs are told apart by a test that fits what they have in common."""

from __future__ import annotations

import pytest

from hybridmodel.comparison import compare


def by_seed(values: list[float]) -> dict[str, float]:
    return {str(seed): value for seed, value in enumerate(values)}


def test_the_same_numbers_are_equal() -> None:
    assert compare(by_seed([1.0]), by_seed([1.0])).verdict == "equal"


def test_one_seed_cannot_tell() -> None:
    assert compare(by_seed([1.0]), by_seed([2.0])).verdict == "too few seeds to tell"


def test_a_small_steady_difference_is_found_by_pairing() -> None:
    first = [1.0, 5.0, 2.0, 9.0, 4.0, 7.0, 3.0, 8.0]
    found = compare(by_seed(first), by_seed([value + 0.1 for value in first]))
    assert found.test.startswith("paired")
    assert found.p == pytest.approx(2 / 2**8)
    assert found.verdict == "different"


def test_differences_of_both_signs_are_not_shown_to_differ() -> None:
    found = compare(by_seed([1, 2, 3, 4, 5, 6]), by_seed([2, 1, 4, 3, 6, 5]))
    assert found.verdict == "not shown to differ"


def test_other_seeds_are_compared_unpaired() -> None:
    second = {str(seed + 100): float(seed + 50) for seed in range(6)}
    found = compare(by_seed([1, 2, 3, 4, 5, 6]), second)
    assert found.test.startswith("Mann")
    assert found.verdict == "different"


def test_no_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        compare({}, by_seed([1.0]))
