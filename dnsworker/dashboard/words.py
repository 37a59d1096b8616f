"""How values look to people: numbers, times, and for every state a level, a sign and a word.

Separate so that one state looks alike on all pages. A level is a colour; it never stands alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from dnsworker.dashboard.overview import NameserverCard, TargetCard
from dnsworker.durations import duration
from dnsworker.operations import Outcome, Status


class State(NamedTuple):
    """`level`: good, busy, warn, bad or idle. `word`: what a person reads."""

    level: str
    word: str


LEVELS = {
    "ACTIVE": "good", "SUPERSEDED": "good",
    "PENDING": "busy", "HELD": "busy", "ACCEPTED": "busy",
    "DEGRADED": "warn", "ERROR": "bad", "DELETED": "idle",
}  # fmt: skip

#: How long an answer that was right is taken for how the nameserver is.
PROVES_FOR_S = 900.0

WAITING = {
    Status.PENDING: "submitted; no worker has taken it in yet",
    Status.HELD: "waits for an earlier operation of its client on this zone",
}


def status(word: str) -> State:
    """Of a zone or an operation."""
    return State(LEVELS.get(word, "idle"), word)


def target_state(card: TargetCard) -> State:
    """How a target is, in a word: the first that is true of what an operator would want to know first."""
    one = card.report
    for is_so, level, word in (
        (one["paused"], "warn", "paused"),
        (one["breaker"] == "open", "bad", "breaker open"),
        (one["rests_until"], "warn", "rests"),
        (one["blocked"], "bad", "held"),
        (one["purging_since"], "busy", "being emptied"),
        (one["failing"] or one["failures"], "warn", "failing"),
        (one["backlog"], "busy", "working"),
    ):
        if is_so:
            return State(level, word)
    return State("good", "in step")


def nameserver_state(card: NameserverCard) -> State:
    """How a nameserver is: by what came of asking it last, and by what it can't have got.

    "In step" is said of one that was asked a while ago at most: an older answer proves nothing.
    """
    trouble = "bad" if card.lag.zones else "warn"
    if card.error:
        return State(trouble, "failing")
    if card.cut_off_by:
        return State(trouble, "cut off")
    if card.lag.zones:
        return State("busy", "behind")
    if card.seen_s_ago is None or card.seen_s_ago > PROVES_FOR_S:
        return State("idle", "not asked lately")
    return State("good", "in step")


def reason(outcome: Outcome) -> str:
    """Why an operation has no end yet, or why it failed."""
    return outcome.message or WAITING.get(outcome.status, "")


def kind(word: str) -> str:
    """`put_record` as people say it."""
    return word.replace("_", " ")


def number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)


def between(later: datetime | None, earlier: datetime | None) -> str:
    """How long it took."""
    return seconds((later - earlier).total_seconds() if later and earlier else None)


def moment(value: Any) -> datetime | None:
    """A time of a report (datetime or ISO text), in UTC; None for none."""
    if value is None:
        return None
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return parsed.astimezone(UTC)
