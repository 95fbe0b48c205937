"""Hand-written peers: a folder with their code, and environments that have what they call.

The folder holds `worker.py`, which speaks as `benchmarks.speed.sides` says, modules `impl_NAME.py`
with cases, and `common.py` with a reference in numpy; their configurations use its words.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import Side


@dataclass(frozen=True)
class Rival:
    """One name in the table: the fastest of some cases of a module, and the bar against it.

    environment   the folder of its environment
    only          "f32" or "f64" where it has but one
    """

    name: str
    environment: str
    module: str
    cases: tuple[str, ...]
    bars: Mapping[str, str] = field(default_factory=dict, hash=False)  # by dtype
    only: str = ""


@dataclass(frozen=True)
class Peers:
    """Where peers and their environments are; `left_out` collects the rivals that are not.

    folder, environments   None: no peers
    """

    folder: Path | None
    environments: Path | None
    left_out: list[str] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)

    def sides(
        self, what: str, rivals: Sequence[Rival], configuration: Mapping[str, Any]
    ) -> dict[Rival, dict[str, Side]]:
        """The sides of each rival that is there, by name."""
        found: dict[Rival, dict[str, Side]] = {}
        for rival in rivals:
            if rival.only not in ("", configuration["dtype"]):
                continue
            if missing := self._missing(rival):
                self.left_out.append(f"{what}: {rival.name} ({missing})")
                continue
            assert self.folder is not None
            assert self.environments is not None
            python = self.environments / rival.environment / "bin" / "python"
            worker = ("worker.py", rival.module)
            found[rival] = {
                f"{rival.module}:{case}": Side(python, worker, self.folder, case, configuration)
                for case in rival.cases
            }
        return found

    def _missing(self, rival: Rival) -> str:
        if self.folder is None or self.environments is None:
            return "no --peers"
        if not (self.folder / f"{rival.module}.py").exists():
            return f"no {rival.module}.py in --peers"
        if not (self.environments / rival.environment / "bin" / "python").exists():
            return f"no environment {rival.environment} in --venvs"
        return ""

    def costs(self, actions: np.ndarray, configuration: Mapping[str, Any]) -> np.ndarray | None:
        """J (N,) by the peers' numpy reference, None without peers."""
        if self.folder is None:
            return None
        shape = {k: configuration[k] for k in ("width", "depth") if k in configuration}
        return self._common.np_rollout(actions, configuration["res"], **shape)

    @cached_property
    def _common(self) -> Any:
        assert self.folder is not None
        spec = importlib.util.spec_from_file_location("common", self.folder / "common.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(self.folder / "common.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
