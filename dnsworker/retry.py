"""The whole retry policy: what an error asks for, and how long to wait.

A pure function, so that the policy can be read in one place; the delivery's row is the clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)

#: A target that asks for a longer rest (a date of another year, say) is asked again after this.
REST_CAP_S = 3600.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay_s`; `reads_back` says to ask the target what it has before writing."""

    delay_s: float
    reads_back: bool = False
    #: The failure says something about the whole target, not about this zone.
    counts_against_target: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The target will refuse this again: find out what exactly it refuses."""

    reason: Literal["rejected", "unsupported"]


def decide(
    error: BackendError, attempt: int, *, base_s: float, cap_s: float, rng: random.Random
) -> Retry | GiveUp:
    """What to do after the `attempt`th failure in a row (from 1).

    | error                            | decision                                          |
    |----------------------------------|---------------------------------------------------|
    | RecordRejected, Unsupported      | give up: split the plan, withhold what is refused |
    | ZoneChanged, ZoneMissing, OutcomeUnknown | at once the first time, after reading back |
    | RateLimited                      | when the target says (within an hour), at least   |
    |                                  | the back-off; all of its deliveries rest          |
    | AuthenticationFailed, Unreachable | back off; the whole target is in question        |
    | other transient errors           | back off                                          |
    """
    if isinstance(error, RecordRejected):
        return GiveUp("rejected")
    if isinstance(error, Unsupported):
        return GiveUp("unsupported")
    delay = back_off(attempt, base_s=base_s, cap_s=cap_s, rng=rng)
    if isinstance(error, ZoneChanged | ZoneMissing | OutcomeUnknown):
        return Retry(0.0 if attempt <= 1 else delay, reads_back=True)
    if isinstance(error, RateLimited):
        return Retry(max(delay, min(error.retry_after_s or 0.0, REST_CAP_S)))
    return Retry(
        delay,
        reads_back=isinstance(error, ServerFailure),
        counts_against_target=isinstance(error, Unreachable | AuthenticationFailed)
        or type(error) is Permanent,
    )


def back_off(attempt: int, *, base_s: float, cap_s: float, rng: random.Random) -> float:
    """Exponential with full jitter: uniform between 0 and base · 2^(attempt-1), capped."""
    return rng.uniform(0.0, min(cap_s, base_s * 2.0 ** min(attempt - 1, 30)))
