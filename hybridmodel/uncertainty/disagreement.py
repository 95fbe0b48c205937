"""How far a model knows what it says: numbers that planners, rollouts and explorers can use."""

from __future__ import annotations

from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.linearised import spread_of
from residuals import Doubt, Probabilistic, Supported


def disagreement(model: HybridModel, x: Tensor, u: Tensor, d: Tensor | None = None) -> Tensor:
    """√ mean_i (epistemic variance of r_i / s_i²) (…) ≥ 0, s the output scale of the residual.

    Taken before a fade: a `Supported` residual has faded to physics outside its data, where all
    members agree on zero; its epistemic variance is that of what is inside, and (1 − w) s² more.
    About 0 where data were, 1 where the correction may be anything of its usual size.

    Raises ValueError where the residual is not probabilistic.
    """
    residual = model.residual
    if not isinstance(residual, Probabilistic):
        raise ValueError(
            f"model: its residual {type(residual).__name__} does not know how far it may be off; "
            "wanted a Probabilistic, like Ensemble, Linear or a Gaussian process"
        )
    return Doubt(residual)(model.residual_features(x, u, d))[..., 0].sqrt()


def support(model: HybridModel, x: Tensor, u: Tensor, d: Tensor | None = None) -> Tensor:
    """w (…) in [0, 1]: 1 where data were, 0 far from them; 1 everywhere without a `Supported`."""
    z = model.residual_features(x, u, d)
    if isinstance(model.residual, Supported):
        return model.residual.support(z)[..., 0]
    return z.new_ones(z.shape[:-1])


def rollout_disagreement(
    model: HybridModel,
    x0: Tensor,
    u: Tensor,
    d: Tensor | None = None,
    *,
    scale: Tensor | None = None,
) -> Tensor:
    """RMS over tangent rows of the members' deviations in units of `scale`, (…, H+1).

    Each member goes its own way from x0 (…, nx); on the way members have faded where there were
    no data, so this is how much of what is known is in doubt: look at `support` as well.

    scale   (tangent rows); default: √R of `model.noise`, what one step leaves unexplained
    Raises ValueError where there are no members, and where R is not known and no scale given.
    """
    residual = model.residual
    if not isinstance(residual, Probabilistic) or residual.count < 2:
        raise ValueError("model: its residual has no members that could disagree")
    if scale is None:
        if not bool((model.noise > 0).all()):
            raise ValueError("scale must be given: model.noise is not known")
        scale = model.noise.sqrt()
    apart = spread_of(model, model.rollout(x0, u, d, member="each"))
    variance = apart.square().sum(0) / (residual.count - 1)
    return (variance / scale.square()).mean(-1).sqrt()
