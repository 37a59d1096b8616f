"""What a run has come to, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """Of one run; a violation is a promise that was broken."""

    seed: int
    #: By kind.
    faults: Mapping[str, int]
    operations: Mapping[str, int]
    #: Submissions that were tried again, because the broker didn't confirm them.
    repeated: int
    #: How many the nameservers showed, one after the other.
    serials: int
    heal_s: float
    violations: Sequence[str]
    #: What is worth knowing and breaks no promise.
    notes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        rows = [
            ("seed", str(self.seed)),
            ("faults", _counts(self.faults)),
            ("operations", _counts(self.operations)),
            ("repeated", f"{self.repeated} submissions"),
            ("serials", f"{self.serials} seen"),
            ("healed", f"within {self.heal_s:.1f} s"),
            *(("note", words) for words in self.notes),
            *(("VIOLATION", words) for words in self.violations),
            ("violations", str(len(self.violations))),
        ]
        return "\n".join(f"{name:<12}{words}" for name, words in rows)


def _counts(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{Counter(counts).total()} ({listed})"
