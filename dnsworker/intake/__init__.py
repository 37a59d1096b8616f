"""Where submissions become rows: each operation once, in its client's order, many in one short transaction.

number = last + 1 ──► applied (or refused, which takes its place too), then whatever waited for it
number > last + 1 ──► HELD until the gap is filled, skipped by the client, or older than the grace
number ≤ last     ──► Overtaken

What comes together is taken in together, by statements for all of it. Each operation keeps its place and has
an outcome of its own; when the transaction fails, each is taken in by itself.
"""

from dnsworker.intake.batch import Batch
from dnsworker.intake.intake import BATCH, Intake, submit
from dnsworker.intake.submission import UNREADABLE, Arrival
from dnsworker.intake.taken import Decision, Fate, Taken

__all__ = ["BATCH", "UNREADABLE", "Arrival", "Batch", "Decision", "Fate", "Intake", "Taken", "submit"]
