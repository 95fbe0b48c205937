"""Forms of the residual, with the slopes that free runs need: r (N, nr), r_z, r_w.

Both are forms of the library's own residuals: what is fitted here becomes one of those, which
every bridge and export takes. Features in standard units, x = (z − μ)/ς.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from residuals import Ensemble, Linear, Residual, Stacked

FINE = (0.03, 0.3)  # widths of signs, in deviations of a feature
NEAR = 0.1  # rounds the corner of |x|


@dataclass(frozen=True)
class Scales:
    """μ, ς (nz,) of the features and s (nr,) of the residual over the fitting logs."""

    mean: np.ndarray
    deviation: np.ndarray
    output: np.ndarray
    signed: tuple[int, ...]  # features that take both signs


class Form(ABC):
    """A residual as a function of numbers w (nw,)."""

    nr: int

    @abstractmethod
    def start(self, seed: int) -> np.ndarray:
        """w with r = 0."""

    @abstractmethod
    def value(self, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        """r (N, nr)."""

    @abstractmethod
    def slopes(self, w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """r (N, nr), ∂r/∂z (N, nr, nz), ∂r/∂w (N, nr, nw)."""

    @abstractmethod
    def residual(self, several: Sequence[np.ndarray]) -> Residual:
        """The mean over several w as a module."""


class Perceptron(Form):
    """r = s ∘ (V tanh(W x + b) + c); the rows of W have lengths from 1 to `finest`.

    A joint's friction turns over within a hundredth of its range of rates, where a network that
    starts smooth never looks.
    """

    def __init__(self, scales: Scales, hidden: int, finest: float) -> None:
        self.scales, self.hidden, self.finest = scales, hidden, finest
        self.nz, self.nr = len(scales.mean), len(scales.output)

    @staticmethod
    def blank() -> Residual:
        """A residual of any size that is zero: it stands for the place alone."""
        return Ensemble((1,), count=1, probabilistic=False)

    def start(self, seed: int) -> np.ndarray:
        g = np.random.default_rng(seed)
        W = g.standard_normal((self.hidden, self.nz))
        W *= np.exp(g.uniform(0, np.log(self.finest), (self.hidden, 1))) / np.sqrt(self.nz)
        b = 0.5 * g.standard_normal(self.hidden)
        return np.concatenate([W.ravel(), b, np.zeros(self.nr * (self.hidden + 1))])

    def _parts(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        h, nz, nr = self.hidden, self.nz, self.nr
        W, b, V, c = np.split(w, np.cumsum([h * nz, h, nr * h]))
        return W.reshape(h, nz), b, V.reshape(nr, h), c

    def value(self, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        W, b, V, c = self._parts(w)
        h = np.tanh((z - self.scales.mean) / self.scales.deviation @ W.T + b)
        return (h @ V.T + c) * self.scales.output

    def slopes(self, w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        W, b, V, c = self._parts(w)
        x = (z - self.scales.mean) / self.scales.deviation
        h = np.tanh(x @ W.T + b)
        s = self.scales.output
        back = V[None] * (1 - h * h)[:, None, :] * s[:, None]  # (N, nr, hidden)
        rz = back @ (W / self.scales.deviation)
        n, nr, hidden = len(z), self.nr, self.hidden
        rw = np.zeros((n, nr, len(w)))
        split = hidden * self.nz
        rw[..., :split] = (back[..., None] * x[:, None, None, :]).reshape(n, nr, split)
        rw[..., split : split + hidden] = back
        for i in range(nr):
            at = split + hidden + i * hidden
            rw[:, i, at : at + hidden] = h * s[i]
            rw[:, i, split + hidden + nr * hidden + i] = s[i]
        return (h @ V.T + c) * s, rz, rw

    def residual(self, several: Sequence[np.ndarray]) -> Residual:
        made = Ensemble((self.hidden,), count=len(several), probabilistic=False)
        made = made.sized(self.nz, self.nr)
        W, b, V, c = (np.stack(a) for a in zip(*map(self._parts, several), strict=True))
        with torch.no_grad():
            first = cast(Stacked, made.chain[0])
            for parameter, value in zip(
                (first.weight, first.bias, made.mean.weight, made.mean.bias),
                (W, b, V, c),
                strict=True,
            ):
                parameter.copy_(torch.as_tensor(value))
        s = self.scales
        made.standardize(*(torch.as_tensor(v) for v in (s.mean, s.deviation, s.output)))
        return made


class SignedPolynomial(nn.Module):
    """ψ = (1, x, x xᵀ, sign v, |x| sign v, |x| v): second degree, and what turns over at v = 0.

    v are the features that take both signs, sign v = tanh(v/ε) for ε of 0.03 and 0.3 deviations;
    |x| sign v is friction under a load, |v| v that of a fluid.
    """

    def __init__(self, nz: int, signed: Sequence[int], zero: np.ndarray) -> None:
        super().__init__()
        i, j = np.triu_indices(nz)
        k, m = np.meshgrid(np.arange(nz), np.asarray(signed, int), indexing="ij")
        keep = np.ones(k.size, bool)
        self.first: Tensor
        self.zero: Tensor
        for name, index in {
            "first": i,
            "second": j,
            "signed": np.asarray(signed, int),
            "load": k.ravel()[keep],
            "sign": m.ravel()[keep],
        }.items():
            self.register_buffer(name, torch.as_tensor(index), persistent=False)
        self.register_buffer("zero", torch.as_tensor(zero), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        v = x - self.zero
        pieces = [torch.ones_like(x[..., :1]), x]
        pieces.append(
            x.index_select(-1, self.first) * x.index_select(-1, self.get_buffer("second"))
        )
        moving = v.index_select(-1, self.get_buffer("signed"))
        pieces += [torch.tanh(moving / width) for width in FINE]
        load = torch.sqrt(v.index_select(-1, self.get_buffer("load")).square() + NEAR**2)
        over = v.index_select(-1, self.get_buffer("sign"))
        pieces += [load * torch.tanh(over / FINE[0]), load * over]
        return torch.cat(pieces, -1)


class Polynomial(Form):
    """r = s ∘ V ψ(x) with the ψ of `SignedPolynomial`; w are the entries of V in `chosen`."""

    def __init__(self, scales: Scales, chosen: np.ndarray | None = None) -> None:
        self.scales = scales
        self.nz, self.nr = len(scales.mean), len(scales.output)
        zero = -scales.mean / scales.deviation
        self.basis = SignedPolynomial(self.nz, scales.signed, zero)
        self.size = self._psi(np.zeros((1, self.nz))).shape[1]
        self.chosen = np.arange(self.nr * self.size) if chosen is None else chosen

    def _psi(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.basis(torch.as_tensor(x)).numpy()

    def start(self, seed: int) -> np.ndarray:
        return np.zeros(len(self.chosen))

    def _weights(self, w: np.ndarray) -> np.ndarray:
        V = np.zeros(self.nr * self.size)
        V[self.chosen] = w
        return V.reshape(self.nr, self.size)

    def value(self, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        x = (z - self.scales.mean) / self.scales.deviation
        return self._psi(x) @ self._weights(w).T * self.scales.output

    def slopes(self, w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, s = (z - self.scales.mean) / self.scales.deviation, self.scales.output
        V = self._weights(w)
        psi = self._psi(x)
        rows = torch.as_tensor(x)
        _, tangents = torch.func.jvp(  # type: ignore[assignment]
            lambda at: self.basis(at),
            (rows.expand(self.nz, *rows.shape).contiguous(),),
            (torch.eye(self.nz, dtype=rows.dtype)[:, None, :].expand(-1, len(x), -1).contiguous(),),
        )  # (nz, N, size)
        rz = np.einsum("zns,rs->nrz", tangents.detach().numpy(), V, optimize=True)
        row, column = np.divmod(self.chosen, self.size)
        rw = np.zeros((len(z), self.nr, len(w)))
        rw[:, row, np.arange(len(w))] = psi[:, column] * s[row]
        return psi @ V.T * s, rz * s[:, None] / self.scales.deviation, rw

    def residual(self, several: Sequence[np.ndarray]) -> Residual:
        made = Linear(self.basis).sized(self.nz, self.nr)
        s = self.scales
        made.standardize(*(torch.as_tensor(v) for v in (s.mean, s.deviation, s.output)))
        with torch.no_grad():
            made.weight.copy_(torch.as_tensor(self._weights(np.mean(several, 0))))
        return made
