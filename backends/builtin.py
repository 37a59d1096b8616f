"""The built-in nameserver as a target: zones go into the tables that it serves from.

A backend like any other, with the database in place of a network, so that the embedded system takes the same
way as a big one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import sqlalchemy as sa
from pydantic import SecretStr

from dnsworker import database
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import Busy, Unreachable, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.settings import load_settings
from dnsworker.store import served


class BuiltinOptions(Options):
    """`database_url`: where the served tables are; by default the worker's own database."""

    database_url: SecretStr | None = None


class BuiltinBackend(Backend):
    """Every `apply` is one transaction, conditional on the complete SOA."""

    capabilities = Capabilities(atomic="message", creates_zones=True, hides_new_zones=True, fencing="server")
    options_model: ClassVar[type[Options]] = BuiltinOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, BuiltinOptions), "options come from options_model"
        secret = options.database_url
        self._engine = database.connect(secret.get_secret_value() if secret else load_settings().database())
        self._reading = database.reading(self._engine)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        with translate_errors(), self._reading.connect() as connection:
            return served.contents(connection, zone, self.target)

    def read_soa(self, zone: Name) -> SOA | None:
        with translate_errors(), self._reading.connect() as connection:
            return served.soa(connection, zone, self.target)

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        with translate_errors(), self._reading.connect() as connection:
            found = served.rrsets(connection, zone, self.target, keys)
        if found is None:
            raise ZoneMissing(f"the built-in nameserver has no zone {zone}", zone=zone)
        return found

    def create_zone(self, zone: ZoneContents) -> None:
        with translate_errors(), self._engine.begin() as connection:
            served.replace_zone(connection, self.target, zone)

    def apply(self, plan: Plan) -> Receipt:
        with translate_errors(), self._engine.begin() as connection:
            done = served.change_zone(
                connection, self.target, plan.zone, plan.current_soa, plan.desired_soa, plan.changes
            )
        if done is None:
            raise ZoneMissing(f"the built-in nameserver has no zone {plan.zone}", zone=plan.zone)
        if not done:
            raise ZoneChanged(f"{plan.zone} is not at serial {plan.current_soa.serial}", zone=plan.zone)
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        with translate_errors(), self._engine.begin() as connection:
            served.remove_zone(connection, zone, self.target)

    def check(self) -> Health:
        try:
            with translate_errors(), self._reading.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except (Unreachable, Busy) as exc:
            return Health(False, exc.message)
        return Health(True, f"serves from {self._engine.url.render_as_string(hide_password=True)}")

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def translate_errors() -> Iterator[None]:
    """The database's errors as a target's."""
    try:
        yield
    except sa.exc.OperationalError as exc:
        words = str(exc.orig).strip().splitlines()[0]
        # "database is locked", "deadlock detected", "Lock wait timeout exceeded"
        raise (Busy if "lock" in words.lower() else Unreachable)(f"the served tables: {words}") from exc
    except sa.exc.TimeoutError as exc:
        raise Busy(f"the served tables: {exc}") from exc
    except sa.exc.DBAPIError as exc:
        raise Unreachable(f"the served tables: {type(exc.orig).__name__}") from exc


BACKEND = BuiltinBackend
