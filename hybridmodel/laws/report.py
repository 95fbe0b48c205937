"""A table of laws, run on one subject, and the report of what holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["holds", "fails", "note", "not checked"]


class UncheckedError(Exception):
    """A law has nothing to measure, or what it needs cannot be made: the message says which."""


@dataclass(frozen=True)
class Law:
    """One law: what it says, and a function that measures it.

    check  subject ↦ a message, "" where the law holds; with a bar, the worst number and a
           message that says where it stands
    bar    the law holds up to this number
    note   where it does not hold, that is worth knowing but no failure
    """

    name: str
    says: str
    check: Callable[[Any], str | tuple[float, str]]
    bar: float | None = None
    note: bool = False

    def run(self, subject: Any) -> Finding:
        """Measure it; an exception is a failure with its message."""
        worst: float | None = None
        try:
            found = self.check(subject)
        except UncheckedError as error:
            return Finding(self.name, self.says, "not checked", None, self.bar, str(error))
        except Exception as error:  # whatever a user's own part raises: other laws still run
            return Finding(self.name, self.says, "fails", None, self.bar, told(error))
        if isinstance(found, str):
            holds, message = not found, found
        else:
            worst, message = found
            holds = self.bar is not None and worst <= self.bar
        outcome: Outcome = "holds" if holds else "note" if self.note else "fails"
        return Finding(self.name, self.says, outcome, worst, self.bar, "" if holds else message)


@dataclass(frozen=True)
class Finding:
    """What a check found about one law: `worst` is None where it has no number."""

    law: str
    says: str
    outcome: Outcome
    worst: float | None
    bar: float | None
    message: str

    def __str__(self) -> str:
        if self.outcome == "not checked":
            return f"{self.law:16}not checked: {self.message}"
        number = "" if self.worst is None else f" {self.worst:.1e} (≤ {self.bar:.0e})"
        outcome = "FAILS" if self.outcome == "fails" else self.outcome
        says = "" if self.outcome == "holds" else f"\n    law: {self.says}\n    {self.message}"
        return f"{self.law:16}{outcome}{number}{says}"


@dataclass(frozen=True)
class LawReport:
    """Which laws one subject obeys; `str` is a table."""

    subject: str
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The laws that do not hold."""
        return tuple(f for f in self.findings if f.outcome == "fails")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing and no failure."""
        return tuple(f for f in self.findings if f.outcome == "note")

    @property
    def holds(self) -> bool:
        """Whether no law fails; notes are no failures."""
        return not self.failures

    def __str__(self) -> str:
        count = len(self.findings)
        verdict = f"{len(self.failures)} of {count} laws FAIL" if self.failures else "all laws hold"
        lines = [f"{self.subject}: {verdict}", *(f"  {finding}" for finding in self.findings)]
        return "\n".join(lines).replace("\n    ", "\n      ")


def told(error: Exception) -> str:
    """An exception as one line; CasADi says what is wrong on its last one."""
    lines = str(error).strip().splitlines() or ["without a message"]
    line = lines[-1] if lines[0].startswith("Error in ") else lines[0]
    return f"{type(error).__name__}: {line.strip()}"


def run(name: str, laws: Sequence[Law], subject: Any) -> LawReport:
    """All laws on one subject, in order."""
    return LawReport(name, tuple(law.run(subject) for law in laws))
