"""An intake without workers and servers: for tests of what operations leave in the database."""

from __future__ import annotations

import itertools
from typing import Any

from dnsworker import database, history
from dnsworker.intake import Arrival, Fate, Intake
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.permissions import PermissionsFile
from dnsworker.pools import Pool
from dnsworker.requests.questions import parse_query
from dnsworker.settings import load_settings
from dnsworker.store import pools, zones
from dnsworker.store.pools import PoolDirectory
from dnsworker.store.rows import ZoneRow
from tests.schema import have_schema

POOLS = [
    {
        "name": name,
        "ns_records": [{"hostname": f"ns1.{name}.example."}],
        "targets": [{"name": f"at-{name}", "type": "builtin"}],
    }
    for name in ("default", "other")
]
EMAIL = "hostmaster@example.net"
numbers = itertools.count(1)


class Bench:
    """An intake, and what it leaves in the database."""

    def __init__(self, url: str) -> None:
        have_schema(url)
        self.engine = database.connect(url)
        with self.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(one) for one in POOLS])
        settings = load_settings(guard_minimum=3)
        self.intake = Intake(self.engine, PoolDirectory(self.engine), settings, PermissionsFile(None))

    def submit(self, kind: str, user: str | None = None, **arguments: Any) -> Fate:
        operation_id = f"o{next(numbers)}"
        taken = self.intake.receive([Arrival(operation_id, kind, arguments, user)])
        assert not taken.failed
        return taken.fates[operation_id]

    def serial(self, kind: str, **arguments: Any) -> int:
        """Of an operation that is accepted."""
        fate = self.submit(kind, **arguments)
        assert (fate.status, fate.code, fate.message) == (Status.ACCEPTED, None, None)
        assert fate.serial is not None
        return fate.serial

    def new_zone(self, **arguments: Any) -> str:
        name = f"z{next(numbers)}.example."
        self.serial("create_zone", zone=name, email=EMAIL, **arguments)
        return name

    def put(self, zone: str, name: str, value: str = "192.0.2.1", **arguments: Any) -> int:
        return self.serial("put_record", zone=zone, name=name, type="A", data=[value], **arguments)

    def row(self, zone: str) -> ZoneRow:
        with self.engine.connect() as connection:
            (row,) = zones.find(connection, Name(zone))
        return row

    def contents(self, zone: str) -> Any:
        """All that makes the zone what it is, but for its serial; None where there is none."""
        row = self.row(zone)
        if row.is_deleted:
            return None
        with self.engine.connect() as connection:
            return row.soa.with_serial(0), zones.rrsets(connection, row.id)

    def history(self, zone: str, **arguments: Any) -> dict[str, Any]:
        query = parse_query("show_history", {"zone": zone, **arguments})
        with database.reading(self.engine).connect() as connection:
            return history.show_history(connection, query)
