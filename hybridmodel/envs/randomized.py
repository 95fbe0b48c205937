"""Plants that are drawn: each hides parameters and effects of its own, within stated intervals.

    s ~ U(0, 1)     v = a + s (b − a)     log v = log a + s log(b/a)     v ∈ {a, a + 1, …, b}

The k-th plant depends on the seed and on k alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hybridmodel.collection import Policy, collect
from hybridmodel.data import Dataset
from hybridmodel.envs.hidden import HiddenEffects

if TYPE_CHECKING:
    from hybridmodel.envs.environment import Environment

Spread = Literal["uniform", "log", "whole"]


@dataclass(frozen=True)
class Interval:
    """Where a number is drawn from: a = low, b = high.

    spread  "uniform"; "log", uniform in the logarithm; "whole", each whole number alike

    Raises ValueError for ends that are not finite or reversed, not positive where "log", or not
    whole where "whole".
    """

    low: float
    high: float
    spread: Spread = "uniform"

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if self.spread not in get_args(Spread):
            raise ValueError(f"spread must be one of {get_args(Spread)}, got {self.spread!r}")
        if not (all(map(_is_finite, ends)) and self.low <= self.high):
            raise ValueError(f"low and high must be finite, low ≤ high, got {ends}")
        if self.spread == "log" and self.low <= 0:
            raise ValueError(f"low must be positive for spread='log', got {self.low}")
        if self.spread == "whole" and any(end != round(end) for end in ends):
            raise ValueError(f"low and high must be whole for spread='whole', got {ends}")

    def at(self, share: float) -> float:
        """v where s = share; an int where whole."""
        low, high = self.low, self.high
        if self.spread == "whole":
            return min(int(low) + math.floor(share * (high - low + 1)), int(high))
        value = low * (high / low) ** share if self.spread == "log" else low + share * (high - low)
        return float(min(max(value, low), high))  # rounding stays inside


@dataclass(frozen=True, kw_only=True)
class Randomized:
    """Draws of (p, hidden effects), one a plant.

    parameters  true values of the System's parameters by name, see `HiddenEffects`
    effects     values of further fields of `always` by name
    always      what every plant hides; its type has the fields, such as `RobotEffects`
    seed        of all draws

    An `Interval` stands wherever a number is drawn, also inside a tuple: `viscous=(Interval(0,
    0.1), 0.0)`. Raises ValueError naming the field, also for values that `always` would refuse.
    """

    parameters: Mapping[str, Interval | float] = field(default_factory=dict, hash=False)
    effects: Mapping[str, Any] = field(default_factory=dict, hash=False)
    always: HiddenEffects = HiddenEffects()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("parameters", "effects"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        known = [f.name for f in dataclasses.fields(self.always) if f.name != "parameters"]
        if unknown := [name for name in self.effects if name not in known]:
            kind = type(self.always).__name__
            raise ValueError(f"effects: {kind} has no field {unknown[0]!r}; it has {known}")
        for name, value in self.parameters.items():
            if not (isinstance(value, Interval) or _is_finite(value)):
                raise ValueError(
                    f"parameters: {name} must be an Interval or a number, got {value!r}"
                )
        _check_count("seed", self.seed)
        names = [name for name, _ in self._drawn()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"parameters and effects: both would be called {sorted(twice)[0]!r}")
        for share in (0.0, 1.0):
            self._hiding({name: interval.at(share) for name, interval in self._drawn()})

    @property
    def intervals(self) -> dict[str, Interval]:
        """What is drawn by name, in order; `viscous_1` is the second entry of a tuple."""
        return dict(sorted(self._drawn()))

    def numbers(self, k: int) -> dict[str, float]:
        """The draws of the k-th plant by name."""
        _check_count("k", k)
        intervals = self.intervals
        shares = np.random.default_rng((self.seed, k)).random(len(intervals)).tolist()
        return {n: i.at(s) for (n, i), s in zip(intervals.items(), shares, strict=True)}

    def hidden(self, k: int) -> HiddenEffects:
        """What the k-th plant hides."""
        return self._hiding(self.numbers(k))

    def collect(
        self,
        make: Callable[[HiddenEffects], Environment],
        policy: Policy,
        *,
        plants: Iterable[int],
        steps: int,
        seed: int = 0,
    ) -> Dataset:
        """One log of each of the plants, by `collect`; its `context` holds the draws by name.

        make    hidden effects ↦ the plant that has them; it is closed after its log
        plants  their numbers k, such as range(16), and range(16, 20) to validate
        seed    of the policy and of the plants' noise; another seed, other logs of the same plants
        """
        _check_count("seed", seed)
        logs = []
        for k in plants:
            numbers = self.numbers(k)
            own = int(np.random.SeedSequence((seed, k)).generate_state(1)[0])
            with make(self._hiding(numbers)) as plant:
                logs.append(collect(plant, policy, steps=steps, seed=own, context=numbers))
        return Dataset(logs)

    def _drawn(self) -> Iterator[tuple[str, Interval]]:
        for name, value in (*self.parameters.items(), *self.effects.items()):
            yield from _intervals(name, value)

    def _hiding(self, numbers: Mapping[str, float]) -> HiddenEffects:
        own = {name: _filled(name, value, numbers) for name, value in self.parameters.items()}
        effects = {name: _filled(name, value, numbers) for name, value in self.effects.items()}
        parameters = {**self.always.parameters, **own}
        return dataclasses.replace(self.always, parameters=parameters, **effects)


def _intervals(name: str, value: Any) -> Iterator[tuple[str, Interval]]:
    """The intervals in a value, each with a name of its own."""
    if isinstance(value, Interval):
        yield name, value
    elif isinstance(value, tuple | list):
        for i, entry in enumerate(value):
            yield from _intervals(f"{name}_{i}", entry)


def _filled(name: str, value: Any, numbers: Mapping[str, float]) -> Any:
    """The value with numbers in place of intervals."""
    if isinstance(value, Interval):
        return numbers[name]
    if isinstance(value, tuple | list):
        return tuple(_filled(f"{name}_{i}", entry, numbers) for i, entry in enumerate(value))
    return value


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_count(name: str, value: object) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be an integer ≥ 0, got {value!r}")
