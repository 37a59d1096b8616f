"""The faults, each a small class: what it breaks, and how that is put right.

A fault is drawn from the seed with all that it will do (victim, way, length) before anything is done, so that
the same seed gives the same faults in the same order. What the system can't do yet isn't here: see README.md.
"""

from __future__ import annotations

import contextlib
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import dns.exception
import dns.query
import dns.tsigkeyring
import dns.update

from chaos.clock import Clock
from chaos.restoration import Restoration
from chaos.system import FENCED, LEASE_S, TARGETS, UNFENCED, WORKERS, ZONES, System
from chaos.tap import Tap
from dev.servers import PowerDNS

#: By then a request that was sent to a target before the database went away has been carried out.
SENT_S = 1.0
#: Within this time a worker sends something to each target.
BUSY_S = 1.0


@dataclass(frozen=True)
class Fault(ABC):
    """One fault. Two of one `part` are never at work at once."""

    name: ClassVar[str]
    part: ClassVar[str]
    victims: ClassVar[tuple[str, ...]]
    ways: ClassVar[tuple[str, ...]]
    #: Between `do` and `undo`, from and to.
    lasts_s: ClassVar[tuple[float, float]]
    #: Targets that may have other contents than the database knows of: it is noticed with the next change.
    needs_touch: ClassVar[tuple[str, ...]] = ()
    #: No other fault is at work meanwhile.
    is_alone: ClassVar[bool] = False

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


class Pause(Fault):
    """SIGSTOP of a worker for longer than its lease: another takes over, then it wakes up and goes on."""

    name, part = "pause", "worker"
    victims, ways, lasts_s = WORKERS, ("SIGSTOP",), (LEASE_S + 1, LEASE_S + 5)
    needs_touch = UNFENCED  # where what it sends after waking up is not refused

    def do(self, system: System) -> None:
        system.worker(self.victim).pause()

    def undo(self, system: System) -> None:
        system.worker(self.victim).cont()


class Nap(Pause):
    """The same, in the middle of what it has the target `way` do, which stops no late writer."""

    name = "nap"
    ways = UNFENCED

    def do(self, system: System) -> None:
        line = system.lines[self.way]
        line.fail("slow", delay_s=BUSY_S)
        time.sleep(BUSY_S)
        super().do(system)
        line.heal()

    def __str__(self) -> str:
        return f"{self.name}: SIGSTOP {self.victim} at work on {self.way}, {self.hold_s:g} s"


class ClockStep(Fault):
    """A worker's clock is stepped, and later back: by less than TSIG and rndc allow, or by an hour."""

    name, part = "clock", "worker"
    victims, ways, lasts_s = WORKERS, ("+45", "-45", "+3600", "-3600"), (3.0, 9.0)

    def do(self, system: System) -> None:
        Clock(system.clocks, self.victim).step(float(self.way))

    def undo(self, system: System) -> None:
        Clock(system.clocks, self.victim).step(0.0)

    def __str__(self) -> str:
        return f"{self.name}: that of {self.victim} steps by {self.way} s, {self.hold_s:g} s"


class ServerFault(Fault):
    """A server that ends, in order or by `kill -9`, and comes back with its data; or answers nobody."""

    ways: ClassVar[tuple[str, ...]] = ("stop", "kill -9", "SIGSTOP")
    lasts_s = (0.0, 5.0)

    def do(self, system: System) -> None:
        server = system.servers[self.victim]
        {"stop": server.stop, "kill -9": server.kill, "SIGSTOP": server.pause}[self.way]()

    def undo(self, system: System) -> None:
        server = system.servers[self.victim]
        if server.is_running:
            server.cont()
        else:
            server.start()


class Broker(ServerFault):
    """RabbitMQ."""

    name, part, victims = "broker", "broker", ("rabbitmq",)

    def do(self, system: System) -> None:
        time.sleep(max(0.0, system.settles_at - time.monotonic()))
        super().do(system)


class Reorder(Fault):
    """A share of the submissions is held back and arrives later, in another order."""

    name, part = "reorder", "broker"
    victims, ways, lasts_s = ("submissions",), ("once",), (1.0, 6.0)
    copies: ClassVar[int] = 1

    def do(self, system: System) -> None:
        rng = random.Random(f"{self.hold_s}")
        system.tap = Tap(system.stack.env["DNSWORKER_BROKER_URL"], self.copies, rng)
        system.tap.start()

    def undo(self, system: System) -> None:
        assert system.tap is not None
        system.tap.release()

    def __str__(self) -> str:
        return f"{self.name}: {self.victim} arrive {self.way}, {self.hold_s:g} s"


class Duplicate(Reorder):
    """The same, and each arrives three times."""

    name, ways, copies = "duplicate", ("three times",), 3


class Database(ServerFault):
    """PostgreSQL, or only all connections to it."""

    name, part, victims = "database", "database", ("postgresql",)
    ways = (*ServerFault.ways, "cut off everybody at")

    def do(self, system: System) -> None:
        if self.way in ServerFault.ways:
            super().do(system)
        else:
            system.stack.postgresql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )


class Restore(Fault):
    """PostgreSQL goes back to a backup that was made when the fault began."""

    name, part, is_alone = "restore", "database", True
    victims, ways, lasts_s = ("postgresql",), ("an earlier",), (3.0, 10.0)

    def do(self, system: System) -> None:
        system.restorations.append(Restoration.begin(system))
        system.stack.postgresql.back_up()

    def undo(self, system: System) -> None:
        system.note_losses()
        system.stack.postgresql.stop()
        time.sleep(SENT_S)
        system.restorations[-1].note_what_is_held(system)
        system.stack.postgresql.restore()
        system.stack.postgresql.start()
        system.engine.dispose()  # whose connections are those of before

    def __str__(self) -> str:
        return f"{self.name}: {self.victim} goes back by {self.hold_s:g} s"


class Redis(ServerFault):
    """Redis, which comes back empty."""

    name, part, victims = "redis", "redis", ("redis",)


class Target(ServerFault):
    """A nameserver."""

    name, part, victims = "target", "target", TARGETS


class Wipe(Fault):
    """A nameserver that comes back without any data."""

    name, part = "wipe", "target"
    victims, ways, lasts_s = TARGETS, ("wipe",), (0.0, 3.0)
    needs_touch = TARGETS

    def do(self, system: System) -> None:
        system.targets[self.victim].wipe()
        system.lives[self.victim] += 1  # after its end, before its new beginning: see Watcher

    def undo(self, system: System) -> None:
        system.targets[self.victim].start()


class Edit(Fault):
    """A record added by hand at a nameserver, which raises its serial.

    Not at PowerDNS: what was added there is found by its serial alone, and can't be explained by an IXFR.
    """

    name, part = "edit", "target"
    victims, ways, lasts_s = ("bind", "knot"), ZONES, (0.0, 1.0)
    needs_touch = TARGETS

    def do(self, system: System) -> None:
        server = system.targets[self.victim]
        assert not isinstance(server, PowerDNS)
        key = dns.tsigkeyring.from_text({server.key_name: (server.algorithm, server.key_secret)})
        update = dns.update.UpdateMessage(self.way, keyring=key)
        update.add(f"by-hand-{self.hold_s}", 60, "TXT", "somebody")
        with contextlib.suppress(dns.exception.DNSException):  # a server that is away can't be edited
            dns.query.tcp(update, server.address, port=server.port, timeout=5)

    def undo(self, system: System) -> None:
        """That is for the workers."""

    def __str__(self) -> str:
        return f"{self.name}: a record in {self.way} at {self.victim}"


class LineFault(Fault):
    """Trouble between the workers and a target: `way` says which."""

    part, victims = "target", TARGETS

    def do(self, system: System) -> None:
        system.lines[self.victim].fail(self.way)  # type: ignore[arg-type]

    def undo(self, system: System) -> None:
        system.lines[self.victim].heal()

    def __str__(self) -> str:
        return f"{self.name}: the line to {self.victim} is {self.way}, {self.hold_s:g} s"


class Slow(LineFault):
    """Each request waits: less than its time-out, or more."""

    name = "slow"
    ways, lasts_s = ("0.3", "3", "7"), (3.0, 9.0)

    def do(self, system: System) -> None:
        system.lines[self.victim].fail("slow", delay_s=float(self.way))

    def __str__(self) -> str:
        return f"{self.name}: each request to {self.victim} waits {self.way} s, {self.hold_s:g} s"


class Cut(LineFault):
    """The network is cut: connections reset, or nothing passes, and what was sent is lost or arrives late."""

    name = "cut"
    ways, lasts_s = ("reset", "silent", "late"), (1.0, LEASE_S + 4)
    needs_touch = UNFENCED  # where what arrives late is not refused


class Late(Cut):
    """Requests arrive when they were given up, and others have written: where that is refused.

    It lasts longer than a request may, and not so long that the workers leave the target alone.
    """

    name = "late"
    victims, ways, lasts_s = FENCED, ("late",), (LEASE_S, LEASE_S + 3)
    needs_touch = ()


class Lost(LineFault):
    """Writes are carried out, and the answers to them lost."""

    name = "lost"
    ways, lasts_s = ("lossy",), (1.0, 6.0)


class Beat(Fault):
    """Two beats at once."""

    name, part = "beat", "beat"
    victims, ways, lasts_s = ("beat",), ("a second",), (3.0, 8.0)

    def do(self, system: System) -> None:
        system.second_beat.start(wait=False)

    def undo(self, system: System) -> None:
        system.second_beat.stop()


_ALL = (
    *(Kill, Term, Pause, Nap, ClockStep, Broker, Reorder, Duplicate, Database, Restore, Redis),
    *(Target, Slow, Cut, Late, Lost, Wipe, Edit, Beat),
)
FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}
#: Those of a run that names none. A restore loses operations, and takes half a minute to get over each time;
#: `pause` and `cut` have the others, as it comes.
USUAL = [name for name in FAULTS if name not in (Restore.name, Nap.name, Late.name)]
