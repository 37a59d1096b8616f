"""Zone serials: 32-bit numbers on a circle (RFC 1982).

Separate because a plain `<` on serials is the oldest bug in this field.
"""

from __future__ import annotations

MODULUS = 2**32
#: So many seconds ahead of our last serial. Others' edits count up to it, too, but not that many unnoticed.
LEAST_LOST = 3600
SAFE_STEP = 2**30  # two steps below this never add up to an undefined one in a server's journal


def is_ahead(serial: int, other: int) -> bool:
    """Whether `serial` is later than `other` (RFC 1982, section 3.2); False for the undefined opposite."""
    return 0 < (serial - other) % MODULUS < 2**31


def latest(*serials: int | None) -> int | None:
    """The latest of the serials, None where there is none."""
    result: int | None = None
    for serial in serials:
        if serial is not None and (result is None or is_ahead(serial, result)):
            result = serial
    return result


def add(serial: int, steps: int) -> int:
    """`serial` moved on by `steps` (back, if negative); 0 is skipped: many servers read it as "unset"."""
    moved = serial + steps
    if steps > 0 and moved >= MODULUS:
        moved += 1
    elif steps < 0 and moved <= 0:
        moved -= 1
    return moved % MODULUS


def distance(start: int, end: int) -> int:
    """How many steps lead from `start` up to `end` (0 … 2³² - 1)."""
    return (end - start) % MODULUS


def next_serial(last: int | None, *, parts: int, unix_time: int, highest_seen: int | None) -> int:
    """The serial for a change that takes `parts` messages.

    It is ahead of `last` and of `highest_seen` by at least `parts`, and equals the Unix time where that
    is so; a Unix time that lies 2³⁰ or more ahead is not taken, because no such jump is needed.
    """
    now = unix_time % MODULUS or 1
    floor = latest(last, highest_seen)
    if floor is None:
        return now
    least = add(floor, max(parts, 1))
    return now if is_ahead(now, least) and distance(floor, now) < SAFE_STEP else least


def may_be_a_lost_one(found: int, last: int, *, unix_time: int) -> bool:
    """Whether a serial ahead of our last is one that we may have given since, and forgotten.

    That is a Unix time, as `next_serial` gives it, of a moment between our last one and now. Whoever edits by
    hand counts on by one, or writes a date.
    """
    return is_ahead(found, add(last, LEAST_LOST)) and not is_ahead(found, unix_time % MODULUS)


def steps_between(start: int, end: int) -> list[int]:
    """The serials to walk through from `start` to `end` (included), no jump of 2³⁰ or more."""
    walked: list[int] = []
    position = start
    while distance(position, end) >= SAFE_STEP:
        position = add(position, SAFE_STEP - 2)  # `add` goes one further where it skips 0
        walked.append(position)
    walked.append(end)
    return walked
