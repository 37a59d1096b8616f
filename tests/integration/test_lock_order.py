"""Deliveries of several zones are locked in one order, whoever writes them: two orders are a deadlock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.servers.process import wait_until
from dnsworker.desired.draft import Draft
from dnsworker.store import convoys, deliveries
from dnsworker.store.claims import Claim
from dnsworker.store.deliveries import Wanted
from tests.world import World

WRITES: dict[str, Callable[[sa.Connection, list[Claim]], object]] = {
    "note all creating": convoys.note_all_creating,
    "renew all": lambda connection, claims: convoys.renew_all(connection, claims, 60.0),
    "give all back": lambda connection, claims: convoys.give_back_all(connection, claims, must_read=True),
    # Of which the one in the middle is forced.
    "want": lambda connection, claims: deliveries.want(
        connection,
        [Wanted(one.zone_id, one.target_id, "present", 9, one is claims[1]) for one in claims],
    ),
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


def test_what_targets_should_have_is_written_at_the_end_alone(world: World) -> None:
    """When an operation has to ask the database, deliveries of earlier ones must not be locked by then."""
    world.submit("create_zone", zone="z.example.", email="hostmaster@example.net")
    wanted = sa.text("SELECT zone_id, target_id, wanted_revision FROM delivery")
    with world.engine.begin() as connection:
        zone_id, target_id, revision = connection.execute(wanted).one()
        draft = Draft(connection)
        draft.want(zone_id, [target_id], goal="present", revision=revision + 1, force=False)
        assert draft.count_rrsets(zone_id, 10) == 1
        assert connection.execute(wanted).one() == (zone_id, target_id, revision)
        draft.finish()
        assert connection.execute(wanted).one() == (zone_id, target_id, revision + 1)
