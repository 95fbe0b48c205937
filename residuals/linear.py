"""A residual that is linear in features of z: Bayesian regression, at once or step by step.

r = s ∘ W ψ(x),  x = (z − μ)/ς             ψ (n,),  W (nr, n)
y = r / s = W ψ + ε,  εᵢ ~ 𝒩(0, σᵢ²)       Wᵢ ~ 𝒩(W₀ᵢ, σᵢ²/λ I) before data
Wᵢ | data ~ 𝒩(W̄ᵢ, σᵢ² P)                  P = (ΨᵀΨ + λ I)⁻¹ = S Sᵀ, shared by all rows
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from residuals.bases import Basis, feature_count, features, hidden_layers, last_layer
from residuals.evidence import largest_evidence
from residuals.mlp import MLP
from residuals.residual import Regressed, Rescale, Standardize
from residuals.sizing import checked_regression, resized


class Linear(Regressed):
    """r = s ∘ W ψ(x), the posterior of W in closed form (Bishop 2006, eq. 3.50–3.51).

    basis        ψ: "polynomial" with `degree`, "fourier" with `frequencies` and `length` ℓ (None:
                 √nz), "identity" (ψ = x), {"hidden": widths, "activation": name} (hidden layers
                 of an MLP and a constant) or any module (…, nz) → (…, n), which is copied.
                 Weights inside ψ are held
    prior        λ > 0, as if W₀ had been seen in λ samples of each feature; None: `solve` takes
                 the λ of largest evidence, before that 1
    noise        standard deviation of measured r in its units, one number or one a row; None:
                 estimated, before data as large as s with the weight of one sample
    forgetting   f in (0, 1], weight of a sample in `update` after one more: 1/(1 − f) samples count

    Raises ValueError for numbers out of range, an unknown basis or a module that does not fit.
    """

    count = 1

    def __init__(
        self,
        basis: Basis = "polynomial",
        *,
        degree: int = 2,
        frequencies: int = 32,
        length: float | None = None,
        prior: float | None = None,
        noise: float | Sequence[float] | None = None,
        forgetting: float = 1.0,
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if prior is not None and not 0 < prior < math.inf:
            raise ValueError(f"prior must be positive, got {prior}")
        if not 0 < forgetting <= 1:
            raise ValueError(f"forgetting must be in (0, 1], got {forgetting}")
        several = (noise,) if isinstance(noise, int | float) else tuple(noise or ())
        if noise is not None and not (several and all(0 < v < math.inf for v in several)):
            raise ValueError(f"noise must be positive, got {noise}")
        shape = {"degree": degree, "frequencies": frequencies, "length": length, "seed": seed}
        self._recipe = {"basis": basis, **shape}  # a dict: a module in it is no child of this one
        self.prior, self.noise, self.forgetting = prior, noise, forgetting
        self.nz, self.nr = nz, nr
        features(nz=1, **self._recipe)  # a wrong one is told at once
        if nz is None or nr is None:
            return
        if len(several) not in (0, 1, nr):
            raise ValueError(f"noise must be one number or {nr}, got {noise}")
        self.input, self.output = Standardize(nz), Rescale(nr)
        self.basis = features(nz=nz, **self._recipe)
        n = feature_count(self.basis, nz)
        self.weight = nn.Parameter(torch.zeros(nr, n, dtype=torch.float64))
        self.factor: Tensor
        self.variance: Tensor
        self.prior_weight: Tensor
        self.precision: Tensor
        self.samples: Tensor
        precision = torch.tensor(1.0 if prior is None else float(prior), dtype=torch.float64)
        self.register_buffer("factor", torch.eye(n, dtype=torch.float64) / precision.sqrt())
        self.register_buffer("variance", torch.ones(nr, dtype=torch.float64))  # σ²
        self.register_buffer("prior_weight", torch.zeros(nr, n, dtype=torch.float64))  # W₀
        self.register_buffer("precision", precision)  # λ
        self.register_buffer("samples", torch.tensor(1.0, dtype=torch.float64))
        self._take_noise()

    @classmethod
    def from_mlp(
        cls,
        mlp: MLP,
        *,
        prior: float | None = None,
        noise: float | Sequence[float] | None = None,
        forgetting: float = 1.0,
    ) -> Self:
        """The same map as a trained MLP, its last layer to be regressed: W₀ = W = that layer.

        Raises ValueError for an MLP without sizes or with a limit, which is not linear in W.
        """
        if mlp.nz is None or mlp.nr is None:
            raise ValueError("mlp must have sizes: train it first, or call mlp.sized(nz, nr)")
        if mlp.limit is not None:
            raise ValueError(f"mlp must have no limit, got {mlp.limit}: r is not linear in W then")
        basis = {"hidden": mlp.hidden, "activation": mlp.activation}
        options = {"prior": prior, "noise": noise, "forgetting": forgetting}
        linear = cls(basis, seed=mlp.seed, nz=mlp.nz, nr=mlp.nr, **options)
        with torch.no_grad():
            for layer in mlp.chain:
                if isinstance(layer, Standardize):
                    linear.input.load_state_dict(layer.state_dict())
                elif isinstance(layer, Rescale):
                    linear.output.load_state_dict(layer.state_dict())
            linear._take_noise()
            linear.basis.load_state_dict(
                {f"chain.{k}": v for k, v in hidden_layers(mlp).state_dict().items()}
            )
            last = last_layer(mlp)
            linear.prior_weight.copy_(torch.cat((last.weight, last.bias[:, None]), -1))
            linear.weight.copy_(linear.prior_weight)
        return linear

    def forward(self, z: Tensor) -> Tensor:
        return self.output(nn.functional.linear(self.basis(self.input(z)), self.weight))

    def members(self, z: Tensor) -> Tensor:
        return self(z)

    def distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = self(z)
        return mean, (self.variance * self.output.scale.square()).log().expand(mean.shape)

    def epistemic(self, z: Tensor) -> Tensor:
        """s² σ² ψᵀPψ, a square of Sᵀψ and so never negative."""
        f = self.basis(self.input(z)) @ self.factor
        return f.square().sum(-1, keepdim=True) * (self.variance * self.output.scale.square())

    @torch.no_grad()
    def solve(self, z: Tensor, r: Tensor) -> None:
        """Take the posterior of W from all of z (N, nz) and r (N, nr), whatever was before.

        Raises ValueError for other shapes, no rows, or numbers that are not finite.
        """
        z, r = checked_regression(self, z, r)
        psi = self.basis(self.input(z.to(self.weight)))  # (N, n)
        y = r.to(self.weight) / self.output.scale - psi @ self.prior_weight.T
        fixed = None if self.noise is None else self.variance
        found = largest_evidence(psi, y, self.prior, fixed)
        self.weight.copy_(self.prior_weight + found.mean)
        self.factor.copy_(found.factor)
        self.variance.copy_(found.variance)
        self.precision.fill_(found.precision)
        self.samples.fill_(float(len(z)))

    @torch.no_grad()
    def update(self, z: Tensor, r: Tensor) -> None:
        """Learn from one sample z (nz,), r (nr,), in place and O(n²): recursive least squares.

        With v = f + ψᵀPψ and e = y − Wψ (Ljung 1999, eq. 11.11):
            W ← W + e (Pψ)ᵀ / v
            P ← (P − Pψ ψᵀP / v) / f, by Potter's square root S ← (S − γ Sφ φᵀ)/√f, φ = Sᵀψ,
                γ = 1/(v + √(f v))    (Maybeck 1979, section 7.4): P stays positive
            σ² ← (f N σ² + e² f/v) / (f N + 1), N ← f N + 1, unless the noise is given
        With f = 1 this is `solve` on all samples, at the λ that it has.

        Where f < 1, P of what is not excited would grow without bound. A weight whose variance
        is above σ² max(1, 1/λ), that of the prior, is taken to have been seen, as it is, with
        just enough weight to meet that; W stays. About n(1 − f) weights are seen to at a step,
        which keeps all within a factor e of the bound, and costs what is excited next to nothing.

        Raises ValueError for other shapes or numbers that are not finite; nothing changes then.
        """
        if z.shape != (self.nz,) or r.shape != (self.nr,):
            raise ValueError(
                f"z and r must be ({self.nz},) and ({self.nr},), "
                f"got {(*z.shape,)} and {(*r.shape,)}"
            )
        S, f = self.factor, self.forgetting
        psi = self.basis(self.input(z.to(S)))
        e = r.to(S) / self.output.scale - self.weight @ psi
        phi = psi @ S
        q, error = float(phi @ phi), float(e @ e)
        if not math.isfinite(q + error):
            raise ValueError(f"z and r must be finite, got {z.tolist()} and {r.tolist()}")
        v, gain = f + q, S @ phi
        self.weight.addr_(e, gain, alpha=1 / v)
        S.addr_(gain, phi, beta=f**-0.5, alpha=-(f**-0.5) / (v + math.sqrt(f * v)))
        samples = f * float(self.samples)
        if self.noise is None:
            self.variance.mul_(samples / (samples + 1))
            self.variance.addcmul_(e, e, value=f / v / (samples + 1))
        self.samples.fill_(samples + 1)
        if f < 1:
            self._bound()

    def _bound(self) -> None:
        """P_jj ≤ max(1, 1/λ), by samples with ψ = e_j, y = Wψ and as much noise as that takes."""
        S = self.factor
        most = max(1.0, 1 / float(self.precision))
        variances = torch.linalg.vector_norm(S, dim=1).square_()
        if float(variances.max()) <= most:
            return
        share = math.ceil(len(S) * (1 - self.forgetting))
        for j in variances.topk(share).indices.tolist():
            phi = S[j].clone()
            q = float(phi @ phi)
            if q > most:
                noise = 1 / (1 / most - 1 / q)
                S.addr_(S @ phi, phi, alpha=-1 / (q + noise + math.sqrt(noise * (q + noise))))

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self._arguments(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.output.scale.copy_(output_scale)
        self._take_noise()

    def _take_noise(self) -> None:
        """A given noise is in the units of r, σ² in those of r/s."""
        if self.noise is not None:
            noise = torch.as_tensor(self.noise, dtype=torch.float64).to(self.variance)
            self.variance.copy_((noise / self.output.scale).square())

    def _arguments(self) -> dict[str, Any]:
        own = {"prior": self.prior, "noise": self.noise, "forgetting": self.forgetting}
        return self._recipe | own | {"nz": self.nz, "nr": self.nr}

    def config(self) -> dict[str, Any]:
        """The arguments as JSON; ValueError where the basis is a module, which JSON cannot hold."""
        basis = self._recipe["basis"]
        if isinstance(basis, nn.Module):
            name = type(basis).__name__
            raise ValueError(f"basis: a module ({name}) is no JSON data and cannot be written down")
        return self._arguments() | {"basis": dict(basis) if isinstance(basis, Mapping) else basis}
