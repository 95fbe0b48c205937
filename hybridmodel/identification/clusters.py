"""Standard errors that hold although the errors of neighbouring windows are correlated.

    V = I⁻¹ (C/(C − 1) Σ_c g_c g_cᵀ) I⁻¹,    g_c = Σ_{i ∈ c} S̃_iᵀ W e_i

Clusters c are blocks of neighbouring windows of one log. Liang and Zeger, Longitudinal data
analysis using generalized linear models, Biometrika 1986, eq. 10.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridmodel.identification.least_squares import Reduced

_SPAN = 4  # horizons a cluster is long
_FEWEST = 10  # clusters below which the sandwich itself is noise


def labels(log: NDArray[np.int64], horizon: int, stride: int) -> NDArray[np.int64]:
    """(N,) which cluster each window is in, of windows in order whose log is `log` (N,)."""
    within = np.arange(len(log)) - np.searchsorted(log, log)
    block = within * stride // (_SPAN * horizon)
    _, label = np.unique(np.stack([log, block]), axis=1, return_inverse=True)
    label = label.reshape(-1)
    if (found := int(label.max()) + 1) < _FEWEST:
        raise ValueError(
            f"horizon: {horizon} steps leave {found} independent pieces of {_SPAN * horizon} "
            f"steps, wanted {_FEWEST}; shorten it, or take initial='estimated'"
        )
    return label


def sandwich(reduced: Reduced, gram: Tensor, n: int, label: NDArray[np.int64]):
    """V (n, n) of ϑ, with what the weights explain projected out of its scores."""
    rows = reduced.rows
    inverse = torch.linalg.pinv(gram, rtol=1e-13, hermitian=True)
    # the step is −(RᵀR)⁻¹ Σ Aᵀ e; its error is that of the sum, which is what is left of e
    step = -inverse @ torch.einsum("nmk,nm->k", rows, reduced.error)
    left = reduced.error + rows @ step
    scores = torch.einsum("nmk,nm->nk", rows, left)
    index = torch.as_tensor(label, device=rows.device)
    count = int(index.max()) + 1
    summed = scores.new_zeros(count, scores.shape[1]).index_add(0, index, scores)
    meat = summed.T @ summed * count / (count - 1)
    V = inverse @ meat @ inverse
    return V[:n, :n].cpu().numpy()
