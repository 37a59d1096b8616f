"""The system that is measured: one stack with one target, its operations counted, its contents checked."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import amqp
import sqlalchemy as sa

from bench.command import NothingMeasured, reached
from dev.pool import pool_of, to_yaml
from dev.servers import Bind, PostgreSQL, PowerDNS
from dev.servers.process import wait_until
from dev.stack import SPLIT, Stack
from dev.transfer import axfr, of_text
from dnsworker import Client
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.queues import intake_queue
from dnsworker.reports.system import show_targets
from dnsworker.reports.zones import export_zone
from dnsworker.tables import operation

EMAIL = "hostmaster@example.org"
OPEN = tuple(status.value for status in Status if not status.is_final)
SUCCEEDED = {Status.ACTIVE.value, Status.SUPERSEDED.value}
TRANSFER_S = 300.0
#: For anything to end; a system that needs longer isn't measured any more.
PATIENCE_S = 300.0
LOOK_S = 0.02


class System:
    """What a measurement sees of a running system, beside its client: the rows and the intake's queue."""

    def __init__(self, stack: Stack, client: Client, engine: sa.Engine, settings: Mapping[str, Any]) -> None:
        self.stack, self.client, self.engine = stack, client, engine
        #: What isn't as it ships, for the report.
        self.settings = dict(settings)
        #: Operations since the start, and the zones that they concern: whoever submits keeps both.
        self.submitted, self.zones = 0, list[str]()
        self._broker = amqp.Connection(
            f"{stack.rabbitmq.address}:{stack.rabbitmq.port}",
            userid="dnsworker",
            password=stack.rabbitmq.password,
            virtual_host=stack.env["DNSWORKER_BROKER_URL"].rpartition("/")[2] or "/",
        )
        self._broker.connect()
        self._channel = self._broker.channel()

    def close(self) -> None:
        self._broker.close()

    def unfinished(self) -> int:
        """Submitted and not ended: as messages that wait, and as rows. What a worker has just taken into its
        hands is in neither.
        """
        waiting = self._channel.queue_declare(intake_queue().name, passive=True).message_count
        query = sa.select(sa.func.count()).where(operation.c.status.in_(OPEN))
        with self.engine.connect() as connection:
            return int(waiting) + int(connection.execute(query).scalar_one())

    def operations(self) -> dict[str, int]:
        """How many there are, by status."""
        query = sa.select(operation.c.status, sa.func.count()).group_by(operation.c.status)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def until_ended(self) -> Iterator[int]:
        """How many are unfinished, until all that were submitted have ended. Raises `NothingMeasured`."""
        deadline, last = time.monotonic() + PATIENCE_S, -1
        while (left := self.unfinished()) or sum(self.operations().values()) < self.submitted:
            yield left
            if left != last:  # patience is for a standstill, not for a long way
                deadline, last = time.monotonic() + PATIENCE_S, left
            if time.monotonic() > deadline:
                raise NothingMeasured(f"{left} operations were unfinished for {PATIENCE_S:g} s")
            time.sleep(LOOK_S)
        yield 0

    def check(self, dead: Collection[str] = ()) -> str:
        """Every operation has succeeded, none is lost, and the nameserver has what the database wants.

        `dead`: targets that need not have anything. Returns what was found, in words. Raises
        `NothingMeasured`: wrong results have no rate.
        """
        found = self.operations()
        if sum(found.values()) != self.submitted or set(found) - SUCCEEDED:
            raise NothingMeasured(f"{self.submitted} operations were submitted, and the database has {found}")
        self.wait_for_rest(dead)
        for zone in self.zones:
            self._raise_unless_equal(zone)
        return (
            f"{self.submitted:,} operations have succeeded, {len(self.zones):,} zones are as they should be"
        )

    def create_zones(self, zones: Sequence[str], pool: str | None = None) -> None:
        self.submitted += len(zones)
        self.zones += zones
        for one in [self.client.create_zone(zone, email=EMAIL, pool=pool) for zone in zones]:
            one.wait(PATIENCE_S)

    def wait_for_rest(self, dead: Collection[str] = ()) -> None:
        """Until every target has everything, but for those that are dead."""

        def is_at_rest() -> bool:
            with self.engine.connect() as connection:
                targets = show_targets(connection)
            return not any(one["backlog"] for one in targets if one["name"] not in dead)

        wait_until(is_at_rest, PATIENCE_S, "the targets to have everything")

    def _raise_unless_equal(self, zone: str) -> None:
        server = self.stack.bind if self.stack.bind.is_running else self.stack.powerdns
        with self.engine.connect() as connection:
            wanted = of_text(zone, export_zone(connection, Name(zone), None))
        found = axfr(server, zone, TRANSFER_S)
        if found is None:
            raise NothingMeasured(f"{type(server).__name__} hasn't got {zone}")
        wrong = [key for key in {*wanted, *found} if wanted.get(key) != found.get(key)]
        if wrong:
            key = min(wrong)
            raise NothingMeasured(
                f"{zone}: {len(wrong)} RRsets of {len(wanted)} differ at {type(server).__name__}; "
                f"{' '.join(key)} is {found.get(key)}, should be {wanted.get(key)}"
            )


@contextmanager
def a_system(
    server: str = "bind",
    *,
    bind: Bind | None = None,
    pool_yaml: str | None = None,
    workers: int | tuple[str, ...] = SPLIT,
    fsync: bool = True,
    settings: Mapping[str, str] | None = None,
    **shared: Any,
) -> Iterator[System]:
    """With the worker processes of `make stack`: one takes in, one delivers.

    `server` is the one target, unless a `pool_yaml` says more, with the `bind` that is in it. PostgreSQL
    keeps what it was given over a power cut, as one in production does, unless `fsync` is off. `shared`:
    what `Stack` is to share instead of starting its own.
    """
    with ExitStack() as ending:
        powerdns = PowerDNS()
        ending.callback(powerdns.close)
        if bind is None:
            bind = Bind()
            ending.callback(bind.close)
        target: Bind | PowerDNS = bind if server == "bind" else powerdns
        target.start()
        if "database" not in shared:
            shared["database"] = ending.enter_context(PostgreSQL(fsync=fsync))
        stack = ending.enter_context(
            Stack(
                pool_yaml=pool_yaml or to_yaml(pool_of({server: target})),
                bind=bind,
                powerdns=powerdns,
                workers=workers,
                settings=settings,
                **shared,
            )
        )
        client, engine = ending.enter_context(reached(stack))
        told = {"PostgreSQL": "fsync on" if fsync else "fsync off", **(settings or {})}
        system = System(stack, client, engine, told)
        ending.callback(system.close)
        yield system
