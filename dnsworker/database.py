"""Engines and schema versions: how a process comes to its database, and refuses one that isn't its own.

Every transaction is READ COMMITTED, where the database has levels: each statement sees what was committed
when it began, so what is read after a lock was waited for is from after it. Whoever must see one moment asks
for a `snapshot`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dnsworker import mariadb, sqlite
from dnsworker.errors import ConfigError
from dnsworker.tables import MARIADB, metadata

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
#: What a migration says that it is, and what it builds on.
_REVISION = re.compile(r"""^((?:down_)?revision)\b.*= ["'](\w+)["']$""", re.MULTILINE)
CONNECT_TIMEOUT_S = 5
#: A statement or a forgotten transaction that takes longer is a mistake, and holds locks.
SESSION = {"statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}

#: PostgreSQL's code for a write where none is taken.
READ_ONLY = "25006"
#: What a database raises that can't be reached, is restarting or is overloaded, and what it raises to the one
#: of two transactions that it ends so that the other can go on: wait, then try again.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


def connect(url: str, *, pool_size: int = 20) -> sa.Engine:
    """An engine for `url`. Nothing is connected yet. Raises `ConfigError` for a URL that can't be one."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as exc:
        raise ConfigError(
            "DNSWORKER_DATABASE_URL is not a database URL, such as postgresql://user@host/name"
        ) from exc
    if parsed.get_backend_name() == "sqlite":
        return sqlite.engine(parsed)
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 10, "pool_pre_ping": False}
    if parsed.get_backend_name() == "postgresql":
        # A connection whose server is gone is noticed in seconds, not after the kernel's two hours.
        options["connect_args"] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "options": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
        }
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.get_backend_name() in MARIADB:
        return mariadb.engine(parsed, options)
    engine = sa.create_engine(parsed, **options)
    sa.event.listen(engine, "handle_error", _take_read_only_for_away)
    return engine


def _take_read_only_for_away(context: sa.ExceptionContext) -> BaseException | None:
    """A server that takes no writes is one that was replaced by another, or whose disk is full.

    To the driver that is our mistake; but it passes, as an outage does, and a new connection may lead to the
    one that does. MariaDB and SQLite say it as `AWAY` by themselves.
    """
    said = context.sqlalchemy_exception
    if not isinstance(said, sa.exc.DBAPIError) or getattr(said.orig, "pgcode", None) != READ_ONLY:
        return None
    context.is_disconnect = True
    return sa.exc.OperationalError(said.statement, said.params, said.orig, connection_invalidated=True)  # type: ignore[arg-type]


def reading(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that write nothing."""
    return engine.execution_options(reads_only=True)


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose reads all see one moment."""
    with reading(engine).connect() as connection:
        if engine.dialect.name != "sqlite":  # there every transaction is one
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield connection


def ping(engine: sa.Engine) -> None:
    """Raises one of `AWAY` when the database doesn't answer."""
    with reading(engine).connect() as connection:
        connection.execute(sa.select(sa.literal(1)))


def on_commit(connection: sa.Connection, call: Callable[[], None]) -> None:
    """Have `call` called whenever a transaction of `connection` commits: just before it does."""
    sa.event.listen(connection, "commit", lambda _connection: call())


def upgrade(url: str) -> str:
    """Bring the database to this code's schema; returns the version. Raises `ConfigError`."""
    try:
        from alembic import command
    except ModuleNotFoundError as exc:
        raise ConfigError("the database tools are not installed: pip install 'dnsworker[worker]'") from exc
    engine = connect(url)
    try:
        with engine.connect() as connection:
            mariadb.check_server(connection)
            _refuse_strangers_tables(connection)
            configuration = _alembic_config()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
            connection.commit()
    finally:
        engine.dispose()
    return code_version()


def code_version() -> str:
    """The newest schema version that this code knows: the one that no migration builds on.

    Read from the files as they are: Alembic would have to be imported, and every migration, each time that
    a command looks at the database.
    """
    _require_migrations()
    known: dict[str, str | None] = {}
    for path in MIGRATIONS.glob("versions/*_*.py"):
        found = dict(_REVISION.findall(path.read_text("utf-8")))
        if found:
            known[found["revision"]] = found.get("down_revision")
    (head,) = known.keys() - known.values()
    return head


def database_version(connection: sa.Connection) -> str | None:
    """The version that the database says it has; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _refuse_strangers_tables(connection: sa.Connection) -> None:
    """Raises `ConfigError` where somebody else has a table of a name of ours."""
    there = sa.inspect(connection).get_table_names()
    if "alembic_version" not in there and (taken := sorted(metadata.tables.keys() & set(there))):
        raise ConfigError(
            f"the database has a table {taken[0]!r} that isn't dnsworker's: give it a database of its own"
        )


def check_version(engine: sa.Engine) -> None:
    """Raises `ConfigError` when the server is too old, or the database's schema isn't this code's."""
    with reading(engine).connect() as connection:
        mariadb.check_server(connection)
        found = database_version(connection)
    wanted = code_version()
    if found != wanted:
        raise ConfigError(
            f"the database has schema version {found or 'none'}, this dnsworker needs {wanted}: "
            "run `dnsworker db upgrade` (or start the dnsworker that the database belongs to)"
        )


def _require_migrations() -> None:
    if not MIGRATIONS.is_dir():
        raise ConfigError("the migrations are not installed: run this from a checkout or the image")


def _alembic_config() -> Any:
    from alembic.config import Config

    _require_migrations()
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    return configuration
