"""Engines for MariaDB and MySQL: what their sessions need to be like the other databases'.

Separate from `database` because so much of it has to be asked for.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dnsworker import tls
from dnsworker.errors import ConfigError
from dnsworker.tables import MARIADB

CONNECT_TIMEOUT_S = 5
#: A server that answers nothing for longer than a statement may take is gone.
SILENCE_S = 65

#: Strict: what doesn't fit is refused, and not cut. The assignments of an UPDATE see the row as it was, as
#: everywhere else. A lock is waited for less long than a statement may take.
SESSION = {
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,SIMULTANEOUS_ASSIGNMENT'",
    "innodb_lock_wait_timeout": "30",
    "wait_timeout": "28800",
    "max_statement_time": "60",
    "idle_transaction_timeout": "60",
}
#: MySQL has no such limits, and evaluates the assignments one after the other.
MYSQL_SESSION = {
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    "innodb_lock_wait_timeout": "30",
    "wait_timeout": "28800",
}
#: Less can't take the rows that `store.bulk` sends at once.
SMALLEST_PACKET = 16 * 1024 * 1024
#: Of a statement, for quotation marks and numbers.
MARGIN = 4096
#: The first that can pass over locked rows (SKIP LOCKED) and read JSON as a table.
OLDEST, OLDEST_MYSQL = (10, 6), (8, 0, 4)


def engine(url: sa.URL, options: dict[str, Any]) -> sa.Engine:
    """Raises `ConfigError` when the driver isn't installed, or TLS can't be had as the URL wants it."""
    try:
        from pymysql.constants.CR import CR_SSL_CONNECTION_ERROR
        from pymysql.converters import escape_string
        from pymysql.err import DataError, OperationalError
    except ModuleNotFoundError as exc:
        raise ConfigError("MariaDB's driver is not installed: pip install 'dnsworker[mariadb]'") from exc
    context = tls.mariadb_context(url.query)
    url = url.difference_update_query([name for name in url.query if name.startswith("ssl")])
    made = sa.create_engine(
        url.set(drivername=f"{url.get_backend_name()}+pymysql"),
        isolation_level="READ COMMITTED",
        # It takes three joined tables for a product of two here (SQLAlchemy 2.1.9), and not elsewhere.
        enable_from_linting=False,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": SILENCE_S,
            "write_timeout": SILENCE_S,
            **({} if context is None else {"ssl": context}),
        },
        **options,
    )

    @sa.event.listens_for(made, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        if context is not None and not connection._secure:
            # An older PyMySQL goes on in the clear where the server offers no TLS.
            raise OperationalError(CR_SSL_CONNECTION_ERROR, "the database offers no TLS")
        wanted = SESSION if "MariaDB" in connection.get_server_info() else MYSQL_SESSION
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in wanted.items()))
            cursor.execute("SELECT @@max_allowed_packet")
            (record.info["packet_size"],) = cursor.fetchone()

    @sa.event.listens_for(made, "before_cursor_execute")
    def _refuse_what_is_too_long(
        connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        # The server would hang up, which looks as if it were away: it would be tried again for ever.
        limit = connection.info["packet_size"]
        texts = _texts(parameters)
        if sum(map(len, texts)) < limit // 8:
            return  # it fits, however it is escaped
        size = len(statement) + sum(len(escape_string(text).encode()) for text in texts)
        if size > limit - MARGIN:
            words = f"a statement of {size} octets: the database's max_allowed_packet is {limit}"
            raise sa.exc.DataError(None, None, DataError(words))

    return made


def check_server(connection: sa.Connection) -> None:
    """Raises `ConfigError` when the server is too old or can't do what is needed. Other databases pass."""
    dialect: Any = connection.dialect
    if dialect.name not in MARIADB:
        return
    name, oldest = ("MariaDB", OLDEST) if dialect.is_mariadb else ("MySQL", OLDEST_MYSQL)
    found = dialect.server_version_info
    if found < oldest:
        there, wanted = (".".join(map(str, version)) for version in (found, oldest))
        raise ConfigError(f"the database is {name} {there}: dnsworker needs {wanted} or later")
    query = "SELECT @@max_allowed_packet, @@log_bin AND @@binlog_format = 'STATEMENT'"
    packet_size, logs_statements = connection.exec_driver_sql(query).one()
    if packet_size < SMALLEST_PACKET:
        raise ConfigError(
            f"the database's max_allowed_packet is {packet_size}: dnsworker needs {SMALLEST_PACKET} or more"
        )
    if logs_statements:
        raise ConfigError("the database's binlog_format is STATEMENT: dnsworker needs ROW or MIXED")


def _texts(parameters: Any) -> list[str]:
    given = parameters if isinstance(parameters, list) else [parameters]  # of one execution, or of many
    rows = [one.values() if isinstance(one, dict) else one for one in given]
    return [value for row in rows for value in row if isinstance(value, str)]
