"""The system under test: real servers, two workers, one pool of three kinds of target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from chaos.line import Line, options_through
from chaos.tap import Tap
from dev.pool import pool_of, to_yaml
from dev.program import Program
from dev.servers import Bind, Knot, PowerDNS, Server
from dev.servers.folders import make_folder, remove_folder
from dev.stack import Stack
from dnsworker import Client, database

if TYPE_CHECKING:
    from chaos.restoration import Restoration

#: Two that take every queue, so that one of them can take over whatever the other was at.
WORKERS = ("worker-1", "worker-2")
TARGETS = ("bind", "powerdns", "knot")
CLIENTS, ZONES_EACH = 3, 2
#: Each belongs to one client, but for the last, in which each has names of its own.
OWN_ZONES = tuple(f"zone{number}.chaos.test." for number in range(CLIENTS * ZONES_EACH))
SHARED_ZONE = "shared.chaos.test."
ZONES = (*OWN_ZONES, SHARED_ZONE)
#: Without a compare-and-set, so that a writer frozen beyond its lease isn't stopped by the server.
UNFENCED = ("powerdns",)
FENCED = ("bind", "knot")

LEASE_S = 6.0
#: What isn't as it ships: a lease that can be outslept, and back-offs that end within the run.
SETTINGS = {"DNSWORKER_LEASE_S": str(LEASE_S), "DNSWORKER_RETRY_CAP_S": "4"}
#: RabbitMQ 3.10 needs this long to write a new quorum queue down (docs/operating/versions.md).
BROKER_SETTLES_S = 10.0
SUBMIT_TIMEOUT_S = 2.0
#: Read by `chaos.worker` alone: the mechanism that is missing, and the folder of the workers' clocks.
SABOTAGE, CLOCKS = "CHAOS_SABOTAGE", "CHAOS_CLOCKS"

#: Notes each delivery of which the database comes to know less. Whoever doubts everything forgets the SOA.
WATCH_REVISIONS = """
    CREATE TABLE chaos_fall (zone_id bigint, target_id bigint, before bigint, after bigint);
    CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_fall
            VALUES (OLD.zone_id, OLD.target_id, OLD.delivered_revision, NEW.delivered_revision);
        RETURN NEW;
    END $$;
    CREATE TRIGGER chaos_fall BEFORE UPDATE ON delivery FOR EACH ROW
        WHEN (NEW.delivered_revision < OLD.delivered_revision AND NEW.soa IS NOT NULL)
        EXECUTE FUNCTION chaos_note();
"""

Nameserver = Bind | PowerDNS | Knot


@dataclass
class System:
    """All that a fault can break and an invariant can ask."""

    stack: Stack
    #: The pool's targets by name; each is its own nameserver.
    targets: dict[str, Nameserver]
    #: By target, what lies between it and the workers.
    lines: dict[str, Line]
    #: The pool without the lines.
    pool_yaml: str
    #: Where the clocks of workers are.
    clocks: Path
    engine: sa.Engine
    #: Not running, until a fault starts it.
    second_beat: Program
    #: From when on the broker outlives its death, by the monotonic clock.
    settles_at: float
    #: Backups that have taken the database's place, and what nameservers have lost by that.
    restorations: list[Restoration] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    #: What holds submissions back, or did so last.
    tap: Tap | None = None
    #: How often each target began anew with no data: what was seen before says nothing about it then.
    lives: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))

    def worker(self, name: str) -> Program:
        return self.stack.worker(WORKERS.index(name))

    @property
    def servers(self) -> dict[str, Server]:
        """All of them, by the names that faults call them by."""
        return {
            "rabbitmq": self.stack.rabbitmq,
            "postgresql": self.stack.postgresql,
            "redis": self.stack.redis,
            **self.targets,
        }

    def new_client(self, *, is_direct: bool = False) -> Client:
        """Over the broker, or straight into the database."""
        env = self.stack.env
        if is_direct:
            return Client(database=env["DNSWORKER_DATABASE_URL"], broker_url=env["DNSWORKER_BROKER_URL"])
        return Client(env["DNSWORKER_BROKER_URL"], env["DNSWORKER_RESULT_URL"], timeout_s=SUBMIT_TIMEOUT_S)

    def note_losses(self) -> None:
        """What nameservers have lost since a backup came back: to be asked before the journal goes back
        once more, and before an operator decides."""
        for restoration in self.restorations:
            if restoration.at and not restoration.is_judged:
                self.losses += restoration.losses(self)
                restoration.is_judged = True

    def start_what_is_down(self) -> list[str]:
        """What a supervisor does; returns whom it started."""
        stack = self.stack
        assert stack.beat is not None
        programs = [*stack.workers, stack.beat]
        down = [name for name, server in self.servers.items() if not server.is_running]
        down += [program.name for program in programs if not program.is_running]
        for server in self.servers.values():  # first: no program is ready without them
            server.start()
        for program in programs:
            program.start()
        return down


@contextmanager
def a_system(sabotage: str | None = None) -> Iterator[System]:
    """Started, and ended with all that belongs to it; its workers lack the mechanism `sabotage`.

    Raises `ServerError`.
    """
    with ExitStack() as stack:
        bind, powerdns, knot = Bind(), PowerDNS(), Knot()
        targets: dict[str, Nameserver] = {"bind": bind, "powerdns": powerdns, "knot": knot}
        for server in targets.values():
            stack.enter_context(server)
        clocks = make_folder("clocks")
        stack.callback(remove_folder, clocks)
        lines = {name: Line() for name in targets}
        pool = pool_of(targets)
        text = to_yaml(pool)
        for target in pool["targets"]:
            line = lines[target["name"]]
            stack.callback(line.close)
            target["options"] = options_through(line, targets[target["name"]])
        linked = to_yaml(pool)
        running = stack.enter_context(
            Stack(
                workers=len(WORKERS),
                bind=bind,
                powerdns=powerdns,
                pool_yaml=linked,
                settings={**SETTINGS, SABOTAGE: sabotage or "", CLOCKS: str(clocks)},
                worker="chaos.worker",
            )
        )
        engine = database.connect(running.env["DNSWORKER_DATABASE_URL"])
        stack.callback(engine.dispose)
        with engine.begin() as connection:
            connection.execute(sa.text(WATCH_REVISIONS))
        second_beat = running.new_beat("beat-2")
        stack.callback(second_beat.stop)
        settles_at = time.monotonic() + BROKER_SETTLES_S
        yield System(running, targets, lines, text, clocks, engine, second_beat, settles_at)
