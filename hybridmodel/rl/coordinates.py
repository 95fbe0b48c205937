"""What a policy network sees and does, where planners have SI units.

o = φ(x),    u = m + h ∘ a,  a ∈ [−1, 1]
"""

from __future__ import annotations

import json
from functools import cached_property

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.features import feature_signals, features, names
from physics import Signal, System


class Coordinates:
    """Between states and inputs of a System and what learned policies use.

        o (…, no)   angles as sine and cosine, rotations as their matrix, other states themselves
        a (…, nu)   inputs as shares of their bounds, m their middle and h half their range

    Raises ValueError where an input has no finite bounds.
    """

    def __init__(self, system: System) -> None:
        for signal in system.inputs:
            if not np.isfinite([signal.low, signal.high]).all():
                raise ValueError(
                    f"system: input {signal.name!r} has bounds {signal.low} … {signal.high}; a "
                    f"policy needs finite ones: Signal({signal.name!r}, low=…, high=…)"
                )
        self.system = system
        self.names = names(system.states)
        x = ca.SX.sym("x", len(system.states))
        self.function = ca.Function("observe", [x], [features(system.states, x, self.names)])
        low, high = np.array([(s.low, s.high) for s in system.inputs]).reshape(-1, 2).T
        self.middle, self.half = torch.tensor((low + high) / 2), torch.tensor((high - low) / 2)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """A signal for each row of o."""
        return feature_signals(self.system.states, self.names)

    @property
    def about(self) -> str:
        """What the numbers stand for: rows of o, and inputs with their bounds, as JSON."""
        inputs = [(s.name, s.low, s.high) for s in self.system.inputs]
        return json.dumps([[s.name for s in self.signals], inputs])

    @property
    def no(self) -> int:
        """Rows of o."""
        return self.function.size1_out(0)

    def observed(self, x: Tensor) -> Tensor:
        """o (…, no) of states x (…, nx); what is memory is left out."""
        return self._observe(x[..., : len(self.system.states)])

    def inputs(self, a: Tensor) -> Tensor:
        """u (…, nu) of actions, clipped to [−1, 1]."""
        return self.middle.to(a) + self.half.to(a) * a.clamp(-1, 1)

    def actions(self, u: Tensor) -> Tensor:
        """a (…, nu) of inputs."""
        half = self.half.to(u)
        return (u - self.middle.to(u)) / torch.where(half > 0, half, torch.ones_like(half))

    @cached_property
    def _observe(self) -> nn.Module:
        return to_torch(self.function)
