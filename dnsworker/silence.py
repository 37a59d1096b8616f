"""Nameservers that don't answer, and how seldom they are asked then."""

from __future__ import annotations

from dataclasses import dataclass

from dnsworker.observer import Observed

#: Questions in a row without an answer after which a nameserver is asked once in `ASK_SILENT_S` only.
SILENT_AFTER = 8
ASK_SILENT_S = 1.0


@dataclass(slots=True)
class Silence:
    """A nameserver that doesn't answer is asked now and then, and not for each zone that waits for it."""

    unanswered: int = 0
    next_at: float = 0.0
    error: str = ""

    def may_ask(self, moment: float) -> bool:
        """Whether to ask now, by the loop's clock; while it is silent, the first to come asks for all."""
        if self.unanswered < SILENT_AFTER:
            return True
        if moment < self.next_at:
            return False
        self.next_at = moment + ASK_SILENT_S
        return True

    def heard(self, observed: Observed, moment: float) -> bool:
        """Note what came of a question; whether it is the first answer after a silence."""
        if observed.kind != "answer" and not observed.rcode:
            self.unanswered += 1
            self.next_at = moment + ASK_SILENT_S
            self.error = observed.error or "no answer"
            return False
        was_silent = self.unanswered >= SILENT_AFTER
        self.unanswered = 0
        return was_silent
