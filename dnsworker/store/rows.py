"""Rows as values, and the small differences between databases.

Separate so that every store module spells an upsert, a row lock and a JSON RRset the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from dnsworker.names import Name
from dnsworker.records import SOA, Key, RRset
from dnsworker.tables import MARIADB

T = TypeVar("T")

DUPLICATE = 1062  # MariaDB's ER_DUP_ENTRY
#: Values in one IN list or one multi-row statement; SQLite takes 32,766 parameters.
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """A row of `zone`; see `dnsworker.tables`."""

    id: int
    pool_id: int
    name: Name
    status: str
    reason: str | None
    is_deleted: bool
    revision: int
    serial: int
    seen_serial: int | None
    mname: Name
    email: str
    ttl: int
    refresh: int
    retry: int
    expire: int
    minimum: int
    look_at: datetime | None
    looks: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    frozen_at: datetime | None
    freeze_reason: str | None
    leaves_by: str | None
    arrives_by: str | None

    @classmethod
    def of(cls, row: Any) -> ZoneRow:
        return cls(**row._mapping)

    @property
    def soa(self) -> SOA:
        """The SOA that the zone must have now."""
        return SOA(
            mname=self.mname,
            rname=SOA.email_to_rname(self.email),
            serial=self.serial,
            refresh=self.refresh,
            retry=self.retry,
            expire=self.expire,
            minimum=self.minimum,
            ttl=self.ttl,
        )


#: For statements that are made once and asked with `{"ids": …}`.
IDS: Any = sa.bindparam("ids", expanding=True)


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The values, at most `size` at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def insert_or_ignore(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert the rows whose key isn't there yet."""
    for chunk in chunks(list(rows)):
        connection.execute(_ignoring(connection.dialect.name, table, chunk))


def insert_new(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert the row; False when its key is there."""
    if connection.dialect.name not in MARIADB:
        return connection.execute(_ignoring(connection.dialect.name, table, [row])).rowcount == 1
    try:
        connection.execute(sa.insert(table).values(row))
    except sa.exc.IntegrityError as exc:
        if exc.orig is not None and exc.orig.args[0] == DUPLICATE:
            return False  # only the statement was undone, not the transaction
        raise
    return True


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Iterable[dict[str, Any]],
    *,
    update: dict[str, Any] | Sequence[str],
) -> None:
    """Insert the rows; for those whose primary key is there, set `update` instead.

    `update` names columns to take from the row, or maps columns to expressions.
    """
    dialect = connection.dialect.name
    for chunk in chunks(list(rows)):
        if dialect in MARIADB:
            statement = mysql.insert(table).values(list(chunk))
            taken = statement.inserted
            values = dict(update) if isinstance(update, dict) else {name: taken[name] for name in update}
            connection.execute(statement.on_duplicate_key_update(values))
            continue
        insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
        statement_ = insert.values(list(chunk))
        values = (
            dict(update) if isinstance(update, dict) else {name: statement_.excluded[name] for name in update}
        )
        connection.execute(
            statement_.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values)
        )


def _ignoring(dialect: str, table: sa.Table, rows: Sequence[dict[str, Any]]) -> Any:
    if dialect in MARIADB:
        # IGNORE would let pass what doesn't fit, too, and lock a row that is there in a way that ends in a
        # deadlock as soon as two have it and both want to write.
        own = next(iter(table.primary_key.columns))
        return mysql.insert(table).values(list(rows)).on_duplicate_key_update({own.name: own})
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return insert.values(list(rows)).on_conflict_do_nothing()


def rrset_to_json(rrset: RRset | None) -> dict[str, Any] | None:
    """An RRset as the journal keeps it: its name and type are columns of their own."""
    return None if rrset is None else {"ttl": rrset.ttl, "data": list(rrset.data)}


def rrset_of(key: Key, document: dict[str, Any] | None) -> RRset | None:
    """The RRset that the journal keeps under `key`."""
    if document is None:
        return None
    return RRset.trusted(key[0], key[1], document["ttl"], tuple(document["data"]))


#: So many more rows are looked at where those that somebody has locked are passed over.
PASSED_OVER = 200


def lock_first_free(
    connection: sa.Connection,
    columns: Sequence[sa.ColumnElement[Any]],
    *,
    where: Sequence[sa.ColumnElement[bool]],
    by: sa.Column[Any],
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """Lock the first rows of `by`'s table that are so and that nobody has locked."""
    table = by.table
    query = sa.select(*columns).where(*where).order_by(by).limit(limit)
    if connection.dialect.name in MARIADB:
        first = sa.select(*table.primary_key).where(*where).order_by(by).limit(limit + PASSED_OVER)
        found = first.subquery("first")
        same = sa.and_(*(column == found.c[column.name] for column in table.primary_key))
        query = by_key(query.join(found, same), table)
    return connection.execute(query.with_for_update(skip_locked=True)).all()


def by_key(query: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
    """A query that skips the table's locked rows, and must come to them by their keys on MariaDB.

    By another index it locks the entry there and then, locked or not, waits for the row; whoever has the row
    and changes what is indexed waits for the entry (seen in 10.11, 2026-11-27).
    """
    for dialect in MARIADB:
        query = query.with_hint(table, "FORCE INDEX (PRIMARY)", dialect)
    return query
