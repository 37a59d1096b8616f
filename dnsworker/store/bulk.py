"""Many rows in few statements: a zone of 100,000 records is written in seconds, one record as before.

Separate from `rows` because here the databases differ most. A statement with a parameter for each value
takes SQLAlchemy and the driver longer to put together than the database to carry out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from dnsworker.store.rows import chunks
from dnsworker.tables import MARIADB, now

#: Rows in one statement of PostgreSQL: some megabytes, and far below `statement_timeout`.
ROWS_AT_ONCE = 10_000
#: Octets of rows in one statement of MariaDB: a quarter of its usual `max_allowed_packet`.
OCTETS_AT_ONCE = 4 * 1024 * 1024
#: Combinations of values that one statement looks for where each is a condition of its own.
COMBINATIONS_AT_ONCE = 100

#: A row's columns by name: values that JSON can carry.
Row = dict[str, Any]
#: What a row that is there gets instead: columns to take from the new one, or what its columns come to,
#: set in this order; a function that is always the same one.
Update = tuple[str, ...] | Callable[[Any], Mapping[str, Any]]


def put(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    update: Update | None = None,
    at: tuple[str, ...] = (),
) -> None:
    """Insert the rows; those whose primary key is there get `update` instead (None: that is an error; `()`:
    they stay as they are, whichever unique key of theirs is there).

    All rows have the same columns, and no two the same key. `at`: columns of all rows that are this moment.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        statement = _put_postgresql(table, tuple(rows[0]), update, at)
        for chunk in chunks(rows, ROWS_AT_ONCE):
            connection.execute(statement, {"rows": chunk})
        return
    if connection.dialect.name in MARIADB:
        statement = _put_mariadb(table, tuple(rows[0]), update, at)
        for document in _documents(rows):
            connection.execute(statement, {"rows": document})
        return
    # For the driver to repeat: SQLite's loop over it is in C.
    connection.execute(_put_one(table, update, at), list(rows))


@cache
def _put_postgresql(
    table: sa.Table, names: tuple[str, ...], update: Update | None, at: tuple[str, ...]
) -> Any:
    rows = _as_table(table, names)
    selected = sa.select(*(rows.c[name] for name in names), *(now() for _ in at))
    statement = postgresql.insert(table).from_select([*names, *at], selected, include_defaults=False)
    if update is None:
        return statement
    values = _values(update, statement.excluded)
    if not values:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values)


@cache
def _put_mariadb(table: sa.Table, names: tuple[str, ...], update: Update | None, at: tuple[str, ...]) -> Any:
    rows = _JsonTable.of(table, names)
    selected = sa.select(*(rows.c[name] for name in names), *(now() for _ in at))
    statement = mysql.insert(table).from_select([*names, *at], selected, include_defaults=False)
    if update is None:
        return statement
    own = next(iter(table.primary_key.columns))
    return statement.on_duplicate_key_update(_values(update, statement.inserted) or {own.name: own})


@cache
def _put_one(table: sa.Table, update: Update | None, at: tuple[str, ...]) -> Any:
    statement = sqlite.insert(table).values({name: now() for name in at})
    if update is None:
        return statement
    values = _values(update, statement.excluded)
    if not values:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values)


class Search:
    """One SELECT of the rows that have any of many combinations of values; made once, to be kept."""

    def __init__(
        self,
        table: sa.Table,
        columns: Sequence[sa.ColumnElement[Any]],
        *,
        by: tuple[str, ...],
        above: str | None = None,
        where: sa.ColumnElement[bool] | None = None,
        locked_by: Sequence[sa.ColumnElement[Any]] = (),
    ) -> None:
        """`by`: the columns of a combination; that named `above` is to be exceeded and not met. With
        `locked_by` what is found is locked, in that order."""
        self._table, self._columns, self._by, self._above = table, columns, by, above
        self._where, self._locked_by = where, locked_by

    def find(self, connection: sa.Connection, rows: Sequence[Row]) -> list[Any]:
        """The rows, in no order."""
        found: list[Any] = []
        if connection.dialect.name == "postgresql":
            for chunk in chunks(rows, ROWS_AT_ONCE):
                found += connection.execute(self._among, {"rows": chunk})
            return found
        for chunk in chunks(rows, COMBINATIONS_AT_ONCE):
            matches = sa.or_(*(self._meets(SimpleNamespace(**row)) for row in chunk))
            found += connection.execute(self._finished(sa.select(*self._columns).where(matches)))
        return found

    @cached_property
    def _among(self) -> Any:
        rows = _as_table(self._table, self._by)
        return self._finished(sa.select(*self._columns).join_from(rows, self._table, self._meets(rows.c)))

    def _meets(self, row: Any) -> sa.ColumnElement[bool]:
        def meets(name: str) -> sa.ColumnElement[bool]:
            column, value = self._table.c[name], getattr(row, name)
            found: sa.ColumnElement[bool] = column > value if name == self._above else column == value
            return found

        return sa.and_(*map(meets, self._by))

    def _finished(self, query: sa.Select[Any]) -> sa.Select[Any]:
        if self._where is not None:
            query = query.where(self._where)
        if self._locked_by:
            query = query.order_by(*self._locked_by).with_for_update(of=self._table)
        return query


def remove(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Delete the rows that have these values in these columns, the same columns in each."""
    if not rows:
        return
    names = list(rows[0])
    if connection.dialect.name == "postgresql":
        for chunk in chunks(rows, ROWS_AT_ONCE):
            given = _as_table(table, names)
            matching = sa.and_(*(table.c[name] == given.c[name] for name in names))
            connection.execute(sa.delete(table).where(matching), {"rows": chunk})
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


def _as_table(table: sa.Table, names: Iterable[str]) -> Any:
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
    def of(cls, table: sa.Table, names: Iterable[str]) -> Any:
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
            found = connection.execute(self._of_all, {"rows": rows})
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
