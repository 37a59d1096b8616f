"""When usual changes set out together to a target: one convoy after the other, and under load not at once.

A convoy costs so much for each zone, and next to nothing for each change. So what comes while one is under
way goes with the next, and a target that gets many changes is left alone for a moment, in which more of them
come together: less work, for a delay that only a busy system has.
"""

from __future__ import annotations

import threading
import time

#: After a convoy with fewer operations there is nothing to be gained by waiting: the system is at rest.
BUSY_OPERATIONS = 8
#: The pause after a convoy by the time that it took.
PAUSE_RATIO = 3.0
#: What goes by itself is looked for so often by those who find that a convoy is under way.
LEFT_BEHIND_EVERY_S = 0.25


class Departures:
    """Of one process to one target. Safe for threads; whoever enters leaves."""

    def __init__(self, most_pause_s: float) -> None:
        self._most_pause_s = most_pause_s
        self._guard = threading.Lock()
        self._under_way = 0
        self._is_full = self._is_marked = False
        self._closed_until = self._left_behind_at = float("-inf")

    def enter(self) -> bool:
        """Whether a convoy may be gathered now: else whoever is under way does what has come since, or it is
        done after the pause. More than one are under way where one was full: others were left behind."""
        with self._guard:
            if time.monotonic() < self._closed_until:
                return False
            if self._under_way and not self._is_full:
                self._is_marked = True
                return False
            self._under_way += 1
            self._is_full = False
            return True

    def set_out(self, *, is_full: bool) -> None:
        """A convoy has been gathered; `is_full`: as many zones as may go together."""
        with self._guard:
            self._is_full = is_full

    def leave(self, operations: int, took_s: float) -> tuple[bool, float]:
        """A convoy of so many operations has come back. Returns whether somebody came by in the meantime, who
        may have come for something else, and the pause in seconds until the next one."""
        with self._guard:
            self._under_way -= 1
            marked, self._is_marked = self._is_marked, False
            pause_s = 0.0
            if operations >= BUSY_OPERATIONS and not self._is_full:
                pause_s = min(self._most_pause_s, PAUSE_RATIO * took_s)
                self._closed_until = time.monotonic() + pause_s
            return marked, pause_s

    def may_look_for_left_behind(self) -> bool:
        """Whether it is time to look for what goes by itself, though no convoy may be gathered."""
        with self._guard:
            moment = time.monotonic()
            if moment - self._left_behind_at < LEFT_BEHIND_EVERY_S:
                return False
            self._left_behind_at = moment
            return True
