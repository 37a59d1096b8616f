"""Many rows in few statements: a zone of 100,000 records is written in seconds, one record as before.

Separate from `rows` because here the databases differ most. A statement with a parameter for each value
takes SQLAlchemy and the driver longer to put together than the database to carry out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from dnsworker.store.rows import chunks

#: Rows in one statement of PostgreSQL: some megabytes, and far below `statement_timeout`.
ROWS_AT_ONCE = 10_000

#: What a row's columns hold: values that JSON can carry.
Row = Mapping[str, Any]


def put(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    update: Sequence[str] = (),
    same: Mapping[str, Any] | None = None,
) -> None:
    """Insert the rows; those whose primary key is there get the columns `update` instead.

    All rows have the same columns, and no two the same key. `same`: columns of all rows that are SQL.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        columns = [*rows[0], *(same or {})]
        for chunk in chunks(rows, ROWS_AT_ONCE):
            given = _as_table(table, list(rows[0]))
            selected = sa.select(*(given.c[name] for name in rows[0]), *(same or {}).values())
            statement = postgresql.insert(table).from_select(columns, selected, include_defaults=False)
            if update:
                statement = statement.on_conflict_do_update(
                    index_elements=list(table.primary_key.columns),
                    set_={name: statement.excluded[name] for name in update},
                )
            connection.execute(statement, {"rows": [dict(row) for row in chunk]})
        return
    connection.execute(_one_by_one(connection.dialect.name, table, update).values(same or {}), list(rows))


def remove(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Delete the rows that have these values in these columns, the same columns in each."""
    if not rows:
        return
    names = list(rows[0])
    if connection.dialect.name == "postgresql":
        for chunk in chunks(rows, ROWS_AT_ONCE):
            given = _as_table(table, names)
            matching = sa.and_(*(table.c[name] == given.c[name] for name in names))
            connection.execute(sa.delete(table).where(matching), {"rows": [dict(row) for row in chunk]})
        return
    # Other names than the columns': a delete takes those for values to set.
    matching = sa.and_(*(table.c[name] == sa.bindparam(f"_{name}") for name in names))
    values = [{f"_{name}": value for name, value in row.items()} for row in rows]
    connection.execute(sa.delete(table).where(matching), values)


def _as_table(table: sa.Table, names: Sequence[str]) -> Any:
    """The bound parameter `rows`, a list of objects, as something to select from."""
    document = sa.cast(sa.bindparam("rows", type_=sa.JSON), sa.JSON)
    columns = [sa.column(name, _plain(table.c[name].type)) for name in names]
    return sa.func.json_to_recordset(document).table_valued(*columns).render_derived("given", with_types=True)


def _plain(kind: sa.types.TypeEngine[Any]) -> Any:
    return sa.Text() if isinstance(kind, sa.String) else kind  # lengths and collations are the table's


def _one_by_one(dialect: str, table: sa.Table, update: Sequence[str]) -> Any:
    """An insert for the driver to repeat: the statement is made once, and SQLite's loop over it is in C."""
    if not update:
        return sa.insert(table)
    if dialect in ("mysql", "mariadb"):
        own = mysql.insert(table)
        return own.on_duplicate_key_update({name: own.inserted[name] for name in update})
    statement = sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in update},
    )
