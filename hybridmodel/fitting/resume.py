"""The state of a fit between two epochs, in memory and on disk."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from hybridmodel.data import Dataset
from hybridmodel.files import write_atomically
from hybridmodel.model import HybridModel
from residuals import Residual

State = dict[str, Tensor]
_NUMBERS = ("stage", "epoch", "since", "stage_merit", "best", "merit", "seconds")


class Run:
    """Where a fit stands: tensors that move, their optimiser, the best so far, the random order.

    groups   tensors by name of their group (None and empty ones are left out)
    rates    the first step size of each group
    """

    def __init__(
        self,
        model: HybridModel,
        groups: Mapping[str, Sequence[Tensor | None]],
        rates: Mapping[str, float],
        seed: int,
    ) -> None:
        self.model, self.rates = model, rates
        self.groups = {
            name: [t for t in tensors if t is not None and t.numel()]
            for name, tensors in groups.items()
        }
        self.moved = [t for tensors in self.groups.values() for t in tensors]
        self.extra = {
            f"{name}.{i}": t
            for name in ("shifts", "noise")
            for i, t in enumerate(self.groups.get(name, []))
        }
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[Mapping[str, float]] = []
        self.stage, self.epoch, self.since = 0, 0, 0
        self.error, self.best, self.seconds = math.inf, math.inf, 0.0
        self.merit, self.stage_merit = math.inf, math.inf  # of the best epoch, and of a stage
        self.begun = -1
        self.start = self.best_state = self._copy()
        self._new_optimizer()

    def stage_begins(self, stage: int) -> bool:
        """Start a stage from the best weights of the one before; False where it goes on."""
        if self.begun == stage:
            return False
        self._put(self.start)
        if stage:
            self.epoch, self.since = 0, 0
        self.stage, self.stage_merit, self.begun = stage, math.inf, stage
        self._new_optimizer()
        return True

    def anneal(self, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["first"] * share

    def order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)

    def ended(self, epoch: int, error: float, merit: float) -> None:
        """Note the validation error of an epoch, and the number that the least of is best."""
        self.error, self.epoch, self.since = error, epoch + 1, self.since + 1
        if merit < self.stage_merit:
            self.stage_merit, self.since = merit, 0
            self.start = self._copy()
        if merit < self.merit:
            self.merit, self.best, self.best_state = merit, error, self.start

    def restore_best(self) -> None:
        self._put(self.best_state)

    def save(self, path: str | os.PathLike[str], of: str) -> None:
        """Write everything that the next epoch depends on, atomically; `of` is the `identity`."""
        self.seconds = self.history[-1]["seconds"] if self.history else 0.0
        tensors = {"generator": self.generator.get_state()}
        for kind, state in (
            ("now", self._copy()), ("start", self.start), ("best", self.best_state)
        ):  # fmt: skip
            tensors |= {f"{kind}/{name}": value for name, value in state.items()}
        for i, tensor in enumerate(self.moved):
            known = self.optimizer.state.get(tensor, {})
            tensors |= {f"adam/{i}/{name}": value for name, value in known.items()}
        about = {name: getattr(self, name) for name in _NUMBERS} | {
            "begun": self.begun,
            "history": self.history,
            "of": of,
        }
        unique = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        write_atomically(
            Path(path), safetensors.torch.save(unique, {"hybridmodel.fit": json.dumps(about)})
        )

    def resume(self, path: str | os.PathLike[str], of: str) -> bool:
        """Take over the state in a file; False where there is none.

        Raises ValueError where it is no such file or belongs to another call.
        """
        if not Path(path).exists():
            return False
        content = Path(path).read_bytes()
        try:
            size = int.from_bytes(content[:8], "little")
            about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["hybridmodel.fit"])
            tensors = safetensors.torch.load(content)
        except Exception as error:
            raise ValueError(f"checkpoint: {path} is not the state of a fit: {error}") from None
        if about["of"] != of:
            raise ValueError(
                f"checkpoint: {path} is of a fit with another model, other data or other "
                "arguments; name another file, or remove it"
            )
        for name in _NUMBERS:
            setattr(self, name, about[name])
        self.begun, self.history = about["begun"], about["history"]
        parts: dict[str, State] = {"now": {}, "start": {}, "best": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind in parts:
                parts[kind][name] = value
        self._put(parts["now"])
        self.start, self.best_state = parts["start"], parts["best"]
        self.generator.set_state(tensors["generator"])
        self._new_optimizer()
        for i, tensor in enumerate(self.moved):
            prefix = f"adam/{i}/"
            known = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if known:
                self.optimizer.state[tensor] = known
        return True

    def _new_optimizer(self) -> None:
        groups = [
            {"params": tensors, "first": self.rates[name]}
            for name, tensors in self.groups.items()
            if tensors
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def _copy(self) -> State:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()} | self.extra
        return copy.deepcopy({name: value.detach() for name, value in state.items()})

    def _put(self, state: State) -> None:
        of_model = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        self.model.load_state_dict(of_model)
        with torch.no_grad():
            for name, tensor in self.extra.items():
                tensor.copy_(state[name])


def identity(model: HybridModel, arguments: Mapping[str, Any], data: Sequence[Dataset]) -> str:
    """A digest of everything that a fit depends on: the model as it came in, arguments, logs."""
    residual, place = model.residual, model.placement
    config = None if residual is None else _plain(residual.config())
    about = (
        sorted(arguments.items()), model.system, model.dt, model.fit_parameters, model.features,
        model.integrator.name, model.substeps, model.hold, place.name, place.rows,
        type(residual).__name__, config,
    )  # fmt: skip
    digest = hashlib.sha256(repr(about).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for part in data:
        digest.update(f"part of {len(part)}".encode())
        for log in part:
            digest.update(repr(sorted(log.context.items())).encode())
            for array in (log.t, log.u, log.y, log.d, log.x):
                digest.update(f"{None if array is None else array.shape}".encode())
                digest.update(b"" if array is None else array.tobytes())
    return digest.hexdigest()


def _plain(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A configuration with the residuals inside it described likewise."""
    return sorted(
        (name, (type(v).__name__, _plain(v.config())) if isinstance(v, Residual) else v)
        for name, v in config.items()
    )
