"""A dry run tells what the operation itself would have come to, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker import Client, OperationFailed, Status, database, preview
from dnsworker.errors import InvalidRequest, NoAnswer
from dnsworker.intake import Arrival, Intake, intake
from dnsworker.operations import Preview
from dnsworker.permissions import PermissionsFile
from dnsworker.pools import Pool
from dnsworker.requests.kinds import OPERATIONS
from dnsworker.requests.questions import parse_query
from dnsworker.settings import load_settings
from dnsworker.store import operations, pools
from dnsworker.store.pools import PoolDirectory
from dnsworker.tables import metadata, zone
from tests.schema import have_schema

POOLS = [
    {
        "name": name,
        "ns_records": [{"hostname": f"ns1.{name}.example."}],
        "targets": [{"name": f"at-{name}", "type": "builtin", "options": {"view": name}}],
    }
    for name in ("default", "other")
]
ZONE = "example.org."


class Bench:
    """An intake whose database can be compared as a whole."""

    def __init__(self, url: str) -> None:
        have_schema(url)
        self.engine = database.connect(url)
        with self.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(one) for one in POOLS])
        self.settings = load_settings(guard_minimum=3)
        self.intake = Intake(self.engine, PoolDirectory(self.engine), self.settings, PermissionsFile(None))
        self.done = 0

    def do(self, kind: str, **arguments: Any) -> Any:
        """The operation's row, when it was taken in."""
        self.done += 1
        operation_id = f"o{self.done}"
        self.intake.receive([Arrival(operation_id, kind, {"zone": ZONE, **arguments})])
        with self.engine.connect() as connection:
            return operations.get(connection, operation_id)

    def foresee(self, kind: str, user: str | None = None, **arguments: Any) -> Preview:
        asked = {"task": kind, "arguments": {"zone": ZONE, **arguments}}
        return preview.foresee(self.intake, parse_query("dry_run", asked), user)

    def rows(self) -> dict[str, list[Any]]:
        """All that is in the database."""
        with self.engine.connect() as connection:
            return {
                table.name: sorted(map(str, connection.execute(sa.select(table))))
                for table in metadata.tables.values()
            }


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if request.param == "sqlite":
        made = Bench(f"sqlite:///{Path(tmp_path_factory.mktemp('dry')) / 'db'}")
    else:
        made = Bench(request.getfixturevalue(request.param).create_database("dry"))
    made.do("create_zone", email="hostmaster@example.net")
    for number in range(1, 6):
        made.do("put_record", name=f"host{number}", type="A", data=[f"192.0.2.{number}"])
    yield made
    made.engine.dispose()


A_RECORD = {"name": "www", "type": "A", "data": ["192.0.2.9"], "ttl": 60}
#: One of each kind that is accepted, and RRsets created, replaced and deleted by it.
ACCEPTED: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("create_zone", {"zone": "new.example.", "email": "a@example.net"}, (1, 0, 0)),
    ("update_zone", {"ttl": 60}, (0, 0, 0)),
    ("delete_zone", {}, (0, 0, 6)),
    ("create_record", A_RECORD, (1, 0, 0)),
    ("update_record", A_RECORD | {"name": "host1"}, (0, 1, 0)),
    ("put_record", A_RECORD, (1, 0, 0)),
    ("put_record", {"name": "host1", "type": "A", "data": ["192.0.2.1"]}, (0, 0, 0)),
    ("delete_record", {"name": "host1", "type": "A"}, (0, 0, 1)),
    (
        "change_zone",
        {
            "changes": [
                {"action": "put", **A_RECORD},
                {"action": "delete", "name": "host2", "type": "A"},
            ]
        },
        (1, 0, 1),
    ),
    ("import_zone", {"text": "host1 60 A 192.0.2.1\nnew 60 A 192.0.2.2\n", "force": True}, (1, 1, 4)),
    ("restore_zone", {"force": True}, (0, 0, 5)),
    ("move_zone", {"to": "other"}, (0, 1, 0)),
]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("create_record", A_RECORD | {"name": "host1"}, "RecordExists"),
    ("update_record", A_RECORD, "RecordNotFound"),
    ("create_zone", {"email": "a@example.net"}, "ZoneExists"),
    ("put_record", A_RECORD | {"zone": "never.example."}, "ZoneNotFound"),
    ("put_record", A_RECORD | {"pool": "none"}, "PoolNotFound"),
    ("import_zone", {"text": "new 60 A 192.0.2.2\n"}, "UnsafeChange"),
    ("import_zone", {"text": "x NOTHING\n"}, "InvalidZoneFile"),
    ("put_record", A_RECORD | {"name": "@", "type": "NS", "data": ["ns.example.net."]}, "UnsafeChange"),
    ("restore_zone", {"serial": 5}, "InvalidRequest"),
    ("move_zone", {"to": "default"}, "InvalidRequest"),
]


def with_first_serial(bench: Bench, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if kind != "restore_zone" or "serial" in arguments:
        return arguments
    with bench.engine.connect() as connection:
        return arguments | {"serial": operations.get(connection, "o1").serial}


def test_one_of_each_kind_is_tried() -> None:
    assert {kind for kind, _, _ in ACCEPTED} == set(OPERATIONS)


@pytest.mark.parametrize(("kind", "arguments", "counts"), ACCEPTED)
def test_what_would_be_done_is_told_and_nothing_is(
    bench: Bench, kind: str, arguments: dict[str, Any], counts: tuple[int, int, int]
) -> None:
    before = bench.rows()
    found = bench.foresee(kind, **with_first_serial(bench, kind, arguments))
    assert bench.rows() == before
    assert (found.code, found.message) == (None, None)
    assert (found.created, found.updated, found.deleted) == counts
    assert len(found.rrsets) == sum(counts)
    assert found.pool == ("other" if kind == "move_zone" else "default")
    if found.has_changes:
        assert found.serial is not None
        assert (found.serial > (found.current_serial or 0), bool(found.targets)) == (True, True)
    else:
        assert (found.serial, found.targets) == (found.current_serial, [])


@pytest.mark.parametrize(("kind", "arguments", "code"), REFUSED)
def test_it_is_refused_as_the_operation_itself_is(
    bench: Bench, kind: str, arguments: dict[str, Any], code: str
) -> None:
    before = bench.rows()
    found = bench.foresee(kind, **arguments)
    assert bench.rows() == before
    itself = bench.do(kind, **arguments)
    assert (found.code, found.message) == (itself.code, itself.message)
    assert (found.code, found.is_refused, found.rrsets) == (code, True, [])


def test_what_was_foreseen_comes_about(bench: Bench) -> None:
    arguments = {"name": "soon", "type": "A", "data": ["192.0.2.1"]}
    found = bench.foresee("create_record", **arguments)
    row = bench.do("create_record", **arguments)
    with bench.engine.connect() as connection:
        from dnsworker.store import journal

        (entry,) = journal.of_operation(connection, row.zone_id, row.id)
    assert entry.change.after is not None
    (rrset,) = found.rrsets
    assert rrset == {
        "name": "soon.example.org.", "type": "A", "before": None,
        "after": {"ttl": entry.change.after.ttl, "data": ["192.0.2.1"]},
    }  # fmt: skip
    assert found.serial is not None
    assert row.serial >= found.serial > (found.current_serial or 0)


def test_an_id_that_was_used_is_known_to_a_dry_run(bench: Bench) -> None:
    same = {"task": "create_zone", "arguments": {"zone": ZONE, "email": "hostmaster@example.net"}, "id": "o1"}
    again = preview.foresee(bench.intake, parse_query("dry_run", same), None)
    assert (again.is_refused, again.has_changes) == (False, False)
    other = same | {"arguments": {"zone": ZONE, "email": "other@example.net"}}
    assert preview.foresee(bench.intake, parse_query("dry_run", other), None).code == "OperationIdReused"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"task": "drop_zone", "arguments": {}}, "there is no operation drop_zone; there are change_zone"),
        ({"task": "show_zone", "arguments": {"zone": ZONE}}, "there is no operation show_zone"),
        ({"task": "put_record", "arguments": {"zone": ZONE}}, "put_record: name is missing"),
    ],
)
def test_what_is_no_operation_is_refused_in_one_line(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_query("dry_run", asked)


def test_a_locked_zone_is_not_waited_for_for_ever(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(postgresql.create_database("dry_locked"))
    bench.do("create_zone", email="hostmaster@example.net")
    monkeypatch.setattr(intake, "REHEARSAL_S", 0.05)
    with bench.engine.begin() as other:
        other.execute(sa.select(zone.c.id).with_for_update())
        with pytest.raises(NoAnswer, match=r"zone example\.org\. is being changed all the while"):
            bench.foresee("put_record", **A_RECORD)
    assert not bench.foresee("put_record", **A_RECORD).is_refused
    bench.engine.dispose()


# --- by the client ------------------------------------------------------------------------------------------


def test_a_client_on_the_database_gets_a_handle_that_tells_it(bench: Bench) -> None:
    before = bench.rows()
    with Client(database=bench.engine, settings=bench.settings) as client:
        good = client.put_record(ZONE, "www", "A", ["192.0.2.9"], dry_run=True)
        bad = client.create_record(ZONE, "host1", "A", ["192.0.2.9"], dry_run=True)
        with pytest.raises(InvalidRequest):
            client.create_record(ZONE, "host1", "A", ["192.0.2"], dry_run=True)
    assert good.preview is not None
    assert good.preview.created == 1
    assert (good.status(), good.wait().serial) == (Status.ACCEPTED, good.preview.serial)
    assert bad.status() is Status.ERROR
    with pytest.raises(OperationFailed, match="RecordExists"):
        bad.wait()
    assert bench.rows() == before


def test_a_callers_transaction_goes_on_as_it_was(bench: Bench) -> None:
    with bench.engine.begin() as connection:
        client = Client(connection=connection, settings=bench.settings)
        operation = client.put_record(ZONE, "inside", "A", ["192.0.2.9"])
        assert client.create_record(ZONE, "host1", "A", ["192.0.2.9"], dry_run=True).preview.is_refused  # type: ignore[union-attr]
        assert client.delete_zone(ZONE, dry_run=True).preview.deleted >= 6  # type: ignore[union-attr]
    with bench.engine.connect() as connection:
        assert operations.get(connection, operation.id).status == "PENDING"
        assert connection.execute(sa.select(sa.func.count()).where(zone.c.is_deleted)).scalar() == 0
