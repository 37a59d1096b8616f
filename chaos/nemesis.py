"""What breaks the system: draws faults from the seed, one after the other or two at once, and does them."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chaos.faults import FAULTS, Fault
from chaos.system import System

PAUSE_S = (0.5, 3.0)
#: Of all steps; the faults of a pair concern different parts of the system.
PAIRS = 0.25


@dataclass(frozen=True)
class Step:
    """Faults that are at work together, and the pause before."""

    pause_s: float
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Event:
    """A fault that was done; times by the monotonic clock."""

    fault: Fault
    begun: float
    ended: float


def draw(seed: int, names: Sequence[str], pairs: float = PAIRS) -> Iterator[Step]:
    """Without end, and the same for the same arguments. A round has each fault once, so none is left out."""
    rng = random.Random(f"{seed}/faults")
    while True:
        names_left = list(names)
        rng.shuffle(names_left)
        while names_left:
            faults = [FAULTS[names_left.pop()].draw(rng)]
            if rng.random() < pairs:
                other = FAULTS[rng.choice(names)].draw(rng)
                if other.part != faults[0].part and not any(one.is_alone for one in (other, *faults)):
                    faults.append(other)
            yield Step(round(rng.uniform(*PAUSE_S), 1), tuple(faults))


class Nemesis:
    """Does the faults of a seed for as long as it is let."""

    def __init__(self, system: System, seed: int, names: Sequence[str], pairs: float = PAIRS) -> None:
        """`pairs`: the share of steps in which two faults are at work, where there are two that may."""
        self._system = system
        self._steps = draw(seed, names, pairs)
        self.history: list[Event] = []

    def run(self, duration_s: float, say: Callable[[str], None]) -> None:
        deadline = time.monotonic() + duration_s
        for step in itertools.takewhile(lambda _: time.monotonic() < deadline, self._steps):
            time.sleep(step.pause_s)
            self._do(step, say)

    def _do(self, step: Step, say: Callable[[str], None]) -> None:
        begun = time.monotonic()
        for fault in step.faults:
            say(str(fault))
            fault.do(self._system)
        # Each is undone when its own time is over, the shortest first.
        for fault in sorted(step.faults, key=lambda one: one.hold_s):
            time.sleep(max(0.0, begun + fault.hold_s - time.monotonic()))
            fault.undo(self._system)
            self.history.append(Event(fault, begun, time.monotonic()))
