"""Promise 3: the operations of one client on one zone take effect in order, or are refused as overtaken."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsworker import database
from dnsworker.desired import Desired, Draft
from dnsworker.intake import Arrival, Intake
from dnsworker.names import Name
from dnsworker.permissions import PermissionsFile
from dnsworker.pools import Pool
from dnsworker.settings import load_settings
from dnsworker.store import operations, pools, zones
from dnsworker.store.pools import PoolDirectory
from tests.schema import have_schema

ACTIONS = ("create_record", "update_record", "put_record", "delete_record")
NAMES = ("a", "b")
POOL = {
    "name": "default",
    "ns_records": [{"hostname": "ns1.example.net."}],
    "targets": [{"name": "ordering", "type": "builtin"}],
}
serial_number = itertools.count(1)


class Watched(Desired):
    """Remembers in which order operations were applied."""

    applied: list[str]

    def apply(self, draft: Draft, operation_id: str, request: Any) -> Any:
        self.applied.append(operation_id)
        return super().apply(draft, operation_id, request)


@dataclass
class Bench:
    """An intake on a database of its own."""

    engine: sa.Engine
    intake: Intake
    desired: Watched


@dataclass(frozen=True)
class Message:
    operation_id: str
    client: str
    number: int
    kind: str
    arguments: dict[str, Any]


def make_bench(url: str) -> Bench:
    have_schema(url)
    engine = database.connect(url)
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(POOL)])
    wanted = load_settings(ordering_grace_s=0.000001)
    directory = PoolDirectory(engine)
    intake = Intake(engine, directory, wanted, PermissionsFile(None))
    watched = Watched(directory, wanted)
    intake._desired = watched
    return Bench(engine, intake, watched)


@pytest.fixture(scope="module")
def sqlite_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = make_bench(f"sqlite:///{Path(tmp_path_factory.mktemp('ordering')) / 'db'}")
    yield bench
    bench.engine.dispose()


wish = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(NAMES), st.integers(1, 9))
client_plan = st.lists(st.tuples(wish, st.sampled_from(("sent", "lost", "unconfirmed"))), max_size=6)


def messages_of(client: str, zone: str, plan: list[Any], tag: int) -> list[Message]:
    """What a client sends: numbers rise, failed ones are named as skipped by what is sent later."""
    messages, failed = [], []
    for number, ((kind, name, value), fate) in enumerate(plan, start=1):
        arguments: dict[str, Any] = {"zone": zone, "name": name, "type": "A"}
        if kind != "delete_record":
            arguments |= {"data": [f"192.0.2.{value}"], "ttl": 60}
        arguments["order"] = {"client": client, "number": number, "skips": list(failed)}
        if fate != "sent":
            failed.append(number)
        if fate != "lost":
            messages.append(Message(f"{tag}-{client}-{number}", client, number, kind, arguments))
    return messages


def replay(state: dict[str, str], message: Message) -> str | None:
    """What one operation does to a zone, or the code of its refusal: the model."""
    name = message.arguments["name"]
    exists = name in state
    if message.kind == "create_record" and exists:
        return "RecordExists"
    if message.kind in ("update_record", "delete_record") and not exists:
        return "RecordNotFound"
    if message.kind == "delete_record":
        del state[name]
    else:
        state[name] = message.arguments["data"][0]
    return None


def check(bench: Bench, plans: tuple[list[Any], list[Any]], data: st.DataObject) -> None:
    tag = next(serial_number)
    zone = f"z{tag}.example."
    bench.desired.applied = []
    bench.intake.receive([Arrival(f"{tag}-zone", "create_zone", {"zone": zone, "email": "a@example.net"})])
    sent = [
        m
        for client, plan in zip("xy", plans, strict=True)
        for m in messages_of(f"{client}{tag}", zone, plan, tag)
    ]
    repeats = data.draw(st.lists(st.sampled_from(sent), max_size=6)) if sent else []
    arriving: list[Message | None] = data.draw(st.permutations([*sent, *repeats, *[None] * 2]))
    has_closed_gaps = False
    together: list[Arrival] = []  # what a worker takes in at once
    for message in arriving:
        if message is None:
            has_closed_gaps = True
            bench.intake.close_gaps()
            continue
        together.append(Arrival(message.operation_id, message.kind, message.arguments))
        if data.draw(st.booleans()):
            bench.intake.receive(together)
            together = []
    bench.intake.receive(together)
    while bench.intake.close_gaps().ended or has_held(bench, zone):
        pass
    by_id = {message.operation_id: message for message in sent}
    applied = [by_id[one] for one in bench.desired.applied if one in by_id]
    assert len({one.operation_id for one in applied}) == len(applied), "an operation was applied twice"
    for client in {message.client for message in sent}:
        numbers = [one.number for one in applied if one.client == client]
        assert numbers == sorted(numbers), f"{client} was applied out of order: {numbers}"
    state: dict[str, str] = {}
    codes = {one.operation_id: replay(state, one) for one in applied}
    with bench.engine.connect() as connection:
        rows = {one.operation_id: operations.get(connection, one.operation_id) for one in sent}
        (row,) = zones.find(connection, Name(zone))
        held = {r.name.split(".")[0]: r.data[0] for r in zones.rrsets(connection, row.id) if r.type == "A"}
    assert held == state
    for operation_id, code in codes.items():
        assert rows[operation_id].code == code
    for operation_id, row in rows.items():
        assert row.status in ("ACCEPTED", "ERROR"), f"{operation_id} is left {row.status}"
        if operation_id not in codes:
            assert row.code == "Overtaken"
    if all(fate == "sent" for plan in plans for _, fate in plan) and not has_closed_gaps:
        assert len(applied) == len(sent), "nothing was missing, so nothing may be overtaken"


def has_held(bench: Bench, zone: str) -> bool:
    with bench.engine.connect() as connection:
        return any(found == zone for _, found in operations.overdue_holds(connection, 0.0, 100))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.tuples(client_plan, client_plan), data=st.data())
def test_any_arrival_order_ends_as_submitted_or_is_refused_by_name(
    sqlite_bench: Bench, plans: tuple[list[Any], list[Any]], data: st.DataObject
) -> None:
    check(sqlite_bench, plans, data)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.tuples(client_plan, client_plan), data=st.data())
def test_the_same_on_postgresql(
    postgresql_bench: Bench, plans: tuple[list[Any], list[Any]], data: st.DataObject
) -> None:
    check(postgresql_bench, plans, data)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.tuples(client_plan, client_plan), data=st.data())
def test_the_same_on_mariadb(
    mariadb_bench: Bench, plans: tuple[list[Any], list[Any]], data: st.DataObject
) -> None:
    check(mariadb_bench, plans, data)


@pytest.fixture(scope="module")
def mariadb_bench(mariadb: Any) -> Iterator[Bench]:
    bench = make_bench(mariadb.create_database("ordering"))
    yield bench
    bench.engine.dispose()


@pytest.fixture(scope="module")
def postgresql_bench(postgresql: Any) -> Iterator[Bench]:
    bench = make_bench(postgresql.create_database("ordering"))
    yield bench
    bench.engine.dispose()
