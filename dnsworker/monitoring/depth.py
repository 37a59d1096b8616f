"""What the broker says about a queue; separate because asking it needs neither a database nor Prometheus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Depth:
    #: Ready to be taken; not those that a worker holds.
    messages: int
    consumers: int
