"""What is found in a log before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning"]


@dataclass(frozen=True)
class LogFinding:
    """One property of one channel.

    channel    its name; "time" for stamps
    kind       jitter, gap, order, missing, constant, frozen, saturation, outlier, quantisation,
               turn, rate, delay, excitation, feedback
    number     how much of it, in `unit`
    severity   "info" to know, "warning" where it biases or breaks a fit
    text       the sentence
    """

    channel: str
    kind: str
    number: float
    unit: str
    severity: Severity
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.channel}: {self.text}"


@dataclass(frozen=True)
class LogReport:
    """Findings of one or more logs of one plant, warnings first."""

    logs: int
    samples: int
    seconds: float
    findings: tuple[LogFinding, ...]

    @property
    def warnings(self) -> tuple[LogFinding, ...]:
        """What biases or breaks a fit."""
        return tuple(f for f in self.findings if f.severity == "warning")

    def of(self, kind: str, channel: str | None = None) -> tuple[LogFinding, ...]:
        """Findings of one kind, of one channel or of all."""
        return tuple(f for f in self.findings if f.kind == kind and channel in (None, f.channel))

    def __str__(self) -> str:
        head = f"{self.logs} logs, {self.samples} samples, {self.seconds:.6g} s: "
        found = "nothing found" if not self.findings else f"{len(self.warnings)} warnings"
        return "\n".join([head + found, *map(str, self.findings)])
