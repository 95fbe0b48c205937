"""Do two sets of runs differ? One test, chosen by what the runs have in common.

paired     the same seeds: exact sign-flip permutation test on the differences
unpaired   other seeds: Mann–Whitney U
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # which loads `stats` when it is first used


@dataclass(frozen=True)
class Comparison:
    """Two medians, p of "no difference", the test used and the number of seeds behind it.

    `least` is the smallest p that so few seeds can give: above 0.05 nothing can be told.
    `equal`: the same seeds gave the same numbers, bit for bit.
    """

    first: float
    second: float
    p: float
    test: str
    seeds: int
    least: float
    equal: bool

    @property
    def verdict(self) -> str:
        """One of "equal", "different", "not shown to differ", "too few seeds to tell"."""
        if self.equal:
            return "equal"
        if self.least > 0.05:
            return "too few seeds to tell"
        return "different" if self.p <= 0.05 else "not shown to differ"


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Compare one figure of two runs, given by seed.

    Raises ValueError where either has no seed.
    """
    if not first or not second:
        raise ValueError("both runs need at least one seed")
    a, b = np.array(list(first.values())), np.array(list(second.values()))
    common = [seed for seed in first if seed in second]
    if len(common) == len(first) == len(second):
        with np.errstate(invalid="ignore"):  # both diverged
            paired = np.array([first[s] for s in common]) - np.array([second[s] for s in common])
        test, p, least = "paired sign-flip permutation", _sign_flip(paired), 2 / 2 ** len(paired)
    else:
        test = "Mann–Whitney U"
        p = float(scipy.stats.mannwhitneyu(a, b, alternative="two-sided").pvalue)
        apart = scipy.stats.mannwhitneyu(
            np.arange(len(a)), len(a) + np.arange(len(b)), alternative="two-sided", method="exact"
        )
        least = float(apart.pvalue)
    return Comparison(
        first=float(np.median(a)),
        second=float(np.median(b)),
        p=p,
        test=test,
        seeds=min(len(a), len(b)),
        least=min(1.0, least),
        equal=first == second,
    )


def _sign_flip(differences: np.ndarray) -> float:
    """Share of sign patterns whose mean difference is at least as large; above 2¹⁵ some are drawn.

    What diverged on one side alone counts as ten times the largest difference that did not.
    """
    n, finite = len(differences), np.abs(differences[np.isfinite(differences)])
    far = 10 * finite.max(initial=1e-300)
    differences = np.nan_to_num(differences, nan=0.0, posinf=far, neginf=-far)
    if n <= 15:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:  # beside the pattern that was observed, so that p is never 0
        signs = np.random.default_rng(0).choice([-1, 1], size=(2**15, n))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    observed = abs(differences.sum())
    return float(np.mean(sums >= observed - 1e-12 * max(1.0, observed)))
