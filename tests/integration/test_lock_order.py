"""Deliveries of several zones are locked in one order, whoever writes them: two orders are a deadlock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.servers.process import wait_until
from dnsworker.store import convoys
from dnsworker.store.claims import Claim
from tests.world import World

WRITES: dict[str, Callable[[sa.Connection, list[Claim]], object]] = {
    "note all creating": convoys.note_all_creating,
    "renew all": lambda connection, claims: convoys.renew_all(connection, claims, 60.0),
    "give all back": lambda connection, claims: convoys.give_back_all(connection, claims, must_read=True),
}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    world = World(database_url, ["one"])
    yield world
    world.close()


@pytest.mark.parametrize("write", WRITES)
def test_claims_are_written_in_the_order_of_their_zones(world: World, write: str) -> None:
    for number in range(3):
        world.submit("create_zone", zone=f"z{number}.example.", email="hostmaster@example.net")
    with world.engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT zone_id, target_id, epoch FROM delivery ORDER BY zone_id")
        ).all()
    claims = [Claim(row.zone_id, row.target_id, "one", row.epoch) for row in reversed(rows)]
    lock = sa.text("SELECT 1 FROM delivery WHERE zone_id = :zone FOR UPDATE NOWAIT")
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def carry_out() -> None:
        with world.engine.begin() as writer:
            for plan in (
                "seqscan",
                "hashjoin",
                "mergejoin",
                "bitmapscan",
            ):  # as with many rows
                writer.execute(sa.text(f"SET LOCAL enable_{plan} = off"))
            WRITES[write](writer, claims)

    def is_waiting() -> bool:  # a transaction sees one moment of it
        with world.engine.connect() as connection:
            return bool(connection.execute(waiting).scalar_one())

    with world.engine.connect() as holder, world.engine.connect() as looker, ThreadPoolExecutor(1) as pool:
        holder.execute(lock, {"zone": rows[1].zone_id})
        done = pool.submit(carry_out)
        try:
            wait_until(is_waiting, 10, "the writer to wait")
            # Of what comes after the one that it waits for it must have nothing.
            looker.execute(lock, {"zone": rows[2].zone_id})
        finally:
            looker.rollback()
            holder.rollback()
        done.result(timeout=30)
