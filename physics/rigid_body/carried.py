"""How much a joint carries, against which an inertia is something or only rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physics.rigid_body import constants
from physics.rigid_body.moments import Moments
from physics.rigid_body.tree import Body

_ROUNDING = 1e-13  # of what is carried: sums leave less of a body without inertia


@dataclass(frozen=True)
class Carried:
    """Mass m [kg] and spread tr Σ [kg·m²] of a body with all beyond it, in numbers."""

    mass: float = 0.0
    spread: float = 0.0

    def least(self, *, slides: bool) -> float:
        """The inertia [kg, kg·m²] up to which rounding alone may have left it."""
        return _ROUNDING * (self.mass if slides else self.spread)

    def wanted(self, *, slides: bool) -> str:
        """That bound, for a message."""
        size, unit = (self.mass, "kg") if slides else (self.spread, "kg·m²")
        return f"> {self.least(slides=slides):.3g} {unit}, {_ROUNDING:.0e} of the {size:.3g} there"


def beyond(bodies: Sequence[Body]) -> list[Carried]:
    """Of each body, at q = 0 and with the constants of the description.

    tr Σ is the largest of those about the origins of the body and of the bodies beyond it, which
    is what sums along the tree are rounded from.
    """
    whole, found = [Moments()] * len(bodies), [Carried()] * len(bodies)
    for i in range(len(bodies) - 1, -1, -1):
        body = bodies[i]
        for link, frame in body.links:
            whole[i] = whole[i].joined(constants.moments(link, {}).seen_from(frame))
        spread = sum(abs(whole[i].second[k][k]) for k in range(3))
        found[i] = Carried(whole[i].mass, max(spread, found[i].spread))
        if i > 0:
            outer, so_far = body.parent, found[body.parent].spread
            whole[outer] = whole[outer].joined(whole[i].seen_from(body.frame(0.0)))
            found[outer] = Carried(spread=max(so_far, found[i].spread))
    return found
