"""The faults, each a small class: what it breaks, and how that is put right.

A fault is drawn from the seed with all that it will do (victim, way, length) before anything is done, so that
the same seed gives the same faults in the same order. What the system can't do yet isn't here: see README.md.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from chaos.system import WORKERS, System


@dataclass(frozen=True)
class Fault(ABC):
    """One fault. Two of one `part` are never at work at once."""

    name: ClassVar[str]
    part: ClassVar[str]
    victims: ClassVar[tuple[str, ...]]
    ways: ClassVar[tuple[str, ...]]
    #: Between `do` and `undo`, from and to.
    lasts_s: ClassVar[tuple[float, float]]
    #: A target may have other contents than the database knows of: it is noticed with the zone's next change.
    needs_touch: ClassVar[bool] = False

    victim: str
    way: str
    hold_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(cls.victims), rng.choice(cls.ways), round(rng.uniform(*cls.lasts_s), 1))

    @abstractmethod
    def do(self, system: System) -> None: ...

    @abstractmethod
    def undo(self, system: System) -> None: ...

    def __str__(self) -> str:
        return f"{self.name}: {self.way} {self.victim}, {self.hold_s:g} s"


class Kill(Fault):
    """`kill -9` of a worker."""

    name, part = "kill", "worker"
    victims, ways, lasts_s = WORKERS, ("kill -9",), (0.0, 5.0)

    def do(self, system: System) -> None:
        system.worker(self.victim).kill()

    def undo(self, system: System) -> None:
        # Not waited for: it can't be ready while another fault has taken its database away.
        system.worker(self.victim).start(wait=False)


class Term(Kill):
    """SIGTERM of a worker: it finishes what it runs, and gives back the rest."""

    name = "term"
    ways = ("SIGTERM",)

    def do(self, system: System) -> None:
        system.worker(self.victim).stop()


FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in (Kill, Term)}
