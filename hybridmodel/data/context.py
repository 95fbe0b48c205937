"""What holds for a whole log, where a model can see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hybridmodel.data.dataset import Dataset


def context_as_exogenous(data: Dataset, names: Sequence[str]) -> Dataset:
    """The logs with context numbers as further columns of d, each constant over its log.

    d⁺ (T, nd + len(names)): what was there first, then `names` in this order. A System whose last
    `exogenous` signals have these meanings sees them in its dynamics and as features, such as the
    payload of each log. The context stays where it is.

    Raises ValueError for a name that the logs' context does not have, or none.
    """
    names = tuple(names)
    known = sorted(data[0].context)
    if not names:
        raise ValueError(f"names is empty; the context of the logs holds {known}")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"names: no context {unknown[0]!r}; that of the logs holds {known}")
    if len(set(names)) < len(names):
        raise ValueError(f"names has one twice: {names}")
    return Dataset(
        replace(
            log,
            d=np.hstack([log.d, np.tile([log.context[name] for name in names], (log.steps, 1))]),
        )
        for log in data
    )
