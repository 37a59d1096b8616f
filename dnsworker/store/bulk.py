"""Many rows in few statements: a zone of 100,000 records is written in seconds, one record as before.

Separate from `rows` because here the databases differ most. A statement with a parameter for each value
takes SQLAlchemy and the driver longer to put together than the database to carry out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from dnsworker.store.rows import chunks
from dnsworker.tables import MARIADB

#: Rows in one statement of PostgreSQL: some megabytes, and far below `statement_timeout`.
ROWS_AT_ONCE = 10_000
#: Octets of rows in one statement of MariaDB: a quarter of its usual `max_allowed_packet`.
OCTETS_AT_ONCE = 4 * 1024 * 1024
#: Combinations of values that one statement looks for where each is a condition of its own.
COMBINATIONS_AT_ONCE = 100

#: What a row's columns hold: values that JSON can carry.
Row = Mapping[str, Any]
#: What a row that is there gets instead: columns to take from the new one, or what its columns come to,
#: set in this order.
Update = Sequence[str] | Callable[[Any], Mapping[str, Any]]


def put(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    update: Update = (),
    same: Mapping[str, Any] | None = None,
) -> None:
    """Insert the rows; those whose primary key is there get `update` instead.

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
                    set_=_values(update, statement.excluded),
                )
            connection.execute(statement, {"rows": [dict(row) for row in chunk]})
        return
    if connection.dialect.name in MARIADB:
        given = _JsonTable.of(table, list(rows[0]))
        selected = sa.select(*(given.c[name] for name in rows[0]), *(same or {}).values())
        own = mysql.insert(table).from_select([*rows[0], *(same or {})], selected, include_defaults=False)
        if update:
            own = own.on_duplicate_key_update(_values(update, own.inserted))
        for document in _documents(rows):
            connection.execute(own, {"rows": document})
        return
    connection.execute(_one_by_one(table, update).values(same or {}), list(rows))


def update(
    connection: sa.Connection,
    table: sa.Table,
    key: str,
    rows: Sequence[Row],
    *,
    same: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None = None,
    where: Sequence[sa.ColumnElement[bool]] = (),
) -> None:
    """Set the rows' columns where `key` is theirs. `same`: columns that are SQL, perhaps of the given row.

    All rows have the same columns.
    """
    if not rows:
        return
    names = [name for name in rows[0] if name != key]
    if connection.dialect.name == "postgresql":
        given = _as_table(table, list(rows[0]))
        values = {name: given.c[name] for name in names} | _same(same, given.c)
        statement = sa.update(table).where(table.c[key] == given.c[key], *where).values(values)
        for chunk in chunks(rows, ROWS_AT_ONCE):
            connection.execute(statement, {"rows": [dict(row) for row in chunk]})
        return
    # Other names than the columns': an update takes those for values to set.
    bound = {name: sa.bindparam(f"_{name}", type_=table.c[name].type) for name in rows[0]}
    values = {name: bound[name] for name in names} | _same(same, bound)
    statement = sa.update(table).where(table.c[key] == bound[key], *where).values(values)
    connection.execute(statement, [{f"_{name}": value for name, value in row.items()} for row in rows])


def _same(same: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None, given: Any) -> dict[str, Any]:
    return dict(same(given)) if callable(same) else dict(same or {})


def find(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[sa.ColumnElement[Any]],
    rows: Sequence[Row],
    *,
    above: str | None = None,
    where: Sequence[sa.ColumnElement[bool]] = (),
    locked_by: Sequence[sa.ColumnElement[Any]] = (),
) -> list[Any]:
    """The rows of the table that have one of these combinations of values, as `columns` in no order.

    All rows have the same columns; that named `above` is to be exceeded and not met. With `locked_by` they
    are locked, in that order.
    """
    if not rows:
        return []
    found: list[Any] = []

    def finished(query: sa.Select[Any]) -> sa.Select[Any]:
        query = query.where(*where)
        return query.order_by(*locked_by).with_for_update(of=table) if locked_by else query

    if connection.dialect.name == "postgresql":
        given = _as_table(table, list(rows[0]))
        matches = [_meets(table.c[name], given.c[name], name == above) for name in rows[0]]
        query = finished(sa.select(*columns).join_from(given, table, sa.and_(*matches)))
        for chunk in chunks(rows, ROWS_AT_ONCE):
            found += connection.execute(query, {"rows": [dict(row) for row in chunk]})
        return found
    for chunk in chunks(rows, COMBINATIONS_AT_ONCE):
        matches = [
            sa.and_(*(_meets(table.c[name], value, name == above) for name, value in row.items()))
            for row in chunk
        ]
        found += connection.execute(finished(sa.select(*columns).where(sa.or_(*matches))))
    return found


def _meets(column: sa.ColumnElement[Any], value: Any, is_above: bool) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = column > value if is_above else column == value
    return found


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
    if connection.dialect.name in MARIADB:
        given = _JsonTable.of(table, names)
        matching = sa.and_(*(table.c[name] == given.c[name] for name in names))
        for document in _documents(rows):
            connection.execute(sa.delete(table).where(matching), {"rows": document})
        return
    # Other names than the columns': a delete takes those for values to set.
    matching = sa.and_(*(table.c[name] == sa.bindparam(f"_{name}") for name in names))
    values = [{f"_{name}": value for name, value in row.items()} for row in rows]
    connection.execute(sa.delete(table).where(matching), values)


def _as_table(table: sa.Table, names: Sequence[str]) -> Any:
    return given({name: table.c[name].type for name in names})


def given(kinds: Mapping[str, Any]) -> Any:
    """The bound parameter `rows`, a list of objects, as something to select from, on PostgreSQL."""
    document = sa.cast(sa.bindparam("rows", type_=sa.JSON), sa.JSON)
    columns = [sa.column(name, _plain(kind)) for name, kind in kinds.items()]
    return sa.func.json_to_recordset(document).table_valued(*columns).render_derived("given", with_types=True)


def _plain(kind: sa.types.TypeEngine[Any]) -> Any:
    return sa.Text() if isinstance(kind, sa.String) else kind  # lengths and collations are the table's


class _JsonTable(FunctionElement[Any]):
    """The same for MariaDB, from the text of the list (a column that a row lacks is NULL)."""

    name = "json_table"
    inherit_cache = False  # the columns are part of it

    @classmethod
    def of(cls, table: sa.Table, names: Sequence[str]) -> Any:
        function = cls(sa.bindparam("rows", type_=sa.Text))
        function.kinds = {name: table.c[name].type for name in names}
        return function.table_valued(*(sa.column(name, kind) for name, kind in function.kinds.items())).alias(
            "given"
        )

    kinds: Mapping[str, sa.types.TypeEngine[Any]]


@compiles(_JsonTable, "mysql")
@compiles(_JsonTable, "mariadb")
def _json_table(element: _JsonTable, compiler: Any, **options: Any) -> str:
    quote = compiler.preparer.quote
    columns = ", ".join(
        f"{quote(name)} {kind.compile(dialect=compiler.dialect)} PATH '$.{name}'"
        for name, kind in element.kinds.items()
    )
    return f"JSON_TABLE({compiler.process(element.clauses, **options)}, '$[*]' COLUMNS ({columns}))"


def _documents(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as JSON lists, each of a length that the server takes."""
    parts: list[str] = []
    length = 0
    for row in rows:
        part = json.dumps({name: value for name, value in row.items() if value is not None})
        if parts and length + len(part) > OCTETS_AT_ONCE:
            yield f"[{','.join(parts)}]"
            parts, length = [], 0
        parts.append(part)
        length += len(part) + 1
    yield f"[{','.join(parts)}]"


def _values(update: Update, new: Any) -> dict[str, Any]:
    return dict(update(new)) if callable(update) else {name: new[name] for name in update}


def _one_by_one(table: sa.Table, update: Update) -> Any:
    """An insert for the driver to repeat: the statement is made once, and SQLite's loop over it is in C."""
    if not update:
        return sa.insert(table)
    statement = sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=_values(update, statement.excluded),
    )


class Change:
    """One UPDATE of many rows, each to values of its own; made once, for a module to keep."""

    def __init__(
        self,
        table: sa.Table,
        kinds: Mapping[str, Any],
        *,
        where: Callable[[Any], Sequence[sa.ColumnElement[bool]]],
        values: Callable[[Any], Mapping[str, Any]],
        key: str,
    ) -> None:
        """`kinds`: what each row gives, by name, with its type. `where` and `values` are called with
        something that has them as columns. `key`: the column that tells the rows apart."""
        self._table, self._kinds, self._where, self._values = table, kinds, where, values
        self._key = key

    def carry_out(self, connection: sa.Connection, rows: Sequence[Row]) -> set[Any]:
        """Change the rows, as far as there are any to change; returns the keys of those."""
        if not rows:
            return set()
        if connection.dialect.name == "postgresql":
            found = connection.execute(self._of_all, {"rows": [dict(row) for row in rows]})
            return set(found.scalars())
        done = set()
        for row in rows:
            values = {f"_{name}": value for name, value in row.items()}
            if connection.execute(self._of_one, values).rowcount == 1:
                done.add(row[self._key])
        return done

    @cached_property
    def _of_all(self) -> Any:
        rows = given(self._kinds)
        update = sa.update(self._table).where(*self._where(rows.c)).values(dict(self._values(rows.c)))
        return update.returning(self._table.c[self._key])

    @cached_property
    def _of_one(self) -> Any:
        # Other names than the columns': an update takes those for values to set.
        row = SimpleNamespace(
            **{name: sa.bindparam(f"_{name}", type_=kind) for name, kind in self._kinds.items()}
        )
        return sa.update(self._table).where(*self._where(row)).values(dict(self._values(row)))
