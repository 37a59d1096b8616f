"""`dnsworker up`: database, pool, nameserver, worker and scheduler in one foreground process.

The same tasks and code as anywhere else; only what they stand on needs no installation.
"""

from __future__ import annotations

import logging
from typing import Any

from dnsworker import database
from dnsworker.cli import output
from dnsworker.cli.session import Session
from dnsworker.errors import ConfigError
from dnsworker.logs import set_up_logging
from dnsworker.nameserver import NameServer
from dnsworker.pools import Nameserver, NsRecord, Pool, Target, load_pools
from dnsworker.serving import DatabaseSource
from dnsworker.settings import Settings
from dnsworker.store import pools as store
from dnsworker.worker import run_worker

POOL, TARGET = "default", "builtin"
#: `.internal` is reserved for private use (ICANN board, 2024-07-29).
NS_NAME = "ns1.dnsworker.internal."
#: By this the pool is known as ours: its nameserver's address may be brought up to date.
DESCRIPTION = "The built-in nameserver of `dnsworker up`"


def run(session: Session, port: int | None) -> None:
    """Run until Ctrl-C or SIGTERM. Raises `ConfigError`."""
    settings = session.settings
    if port is not None:
        settings = settings.model_copy(update={"nameserver_port": port})
    set_up_logging(settings)
    # kombu warns of a host that files don't have.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    session.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database.upgrade(settings.database())
    engine = database.connect(settings.database(), pool_size=4)
    nameserver = _listen(engine, settings)
    try:
        said = _prepare_pools(engine, settings, nameserver.port)

        def announce() -> None:
            if session.as_json:
                output.print_json_line(
                    {
                        "ready": True,
                        "host": nameserver.host,
                        "port": nameserver.port,
                        "data_dir": str(session.data_dir),
                    }
                )
            else:
                _welcome(session, nameserver, said)

        run_worker(settings, with_beat=True, on_ready=announce)
    finally:
        nameserver.stop()
        engine.dispose()
    if not session.as_json:
        output.say("stopped; what was accepted is kept", err=True)


def default_pool(host: str, port: int) -> Pool:
    """The pool of a system of which nobody said anything."""
    return Pool(
        name=POOL,
        description=DESCRIPTION,
        ns_records=[NsRecord(hostname=NS_NAME)],
        nameservers=[Nameserver(host=host, port=port, target=TARGET)],
        targets=[Target(name=TARGET, type="builtin")],
    )


def _listen(engine: Any, settings: Settings) -> NameServer:
    host, port = settings.nameserver_host, settings.nameserver_port
    nameserver = NameServer(DatabaseSource(engine), host=host, port=port)
    try:
        nameserver.start()
    except OSError as exc:
        raise ConfigError(
            f"the nameserver can't listen on {host} port {port}: {exc.strerror}; is another `dnsworker up` "
            "running? Choose a port with --port or DNSWORKER_NAMESERVER_PORT"
        ) from exc
    return nameserver


def _prepare_pools(engine: Any, settings: Settings, port: int) -> list[str]:
    """Apply DNSWORKER_POOLS or the default pool to an empty system; returns what was done."""
    with engine.begin() as connection:
        known = {entry.pool.name: entry.pool for entry in store.read(connection)}
        if not known and settings.pools is not None:
            return store.apply(connection, load_pools(settings.pools)).lines
        wanted = default_pool(settings.nameserver_host, port)
        ours = known.get(POOL)
        if not known or (ours is not None and ours.description == DESCRIPTION and ours != wanted):
            return store.apply(connection, [wanted]).lines
    return []


def _welcome(session: Session, nameserver: NameServer, said: list[str]) -> None:
    for line in said:
        output.say(line, err=True)
    at = f"@{nameserver.host} -p {nameserver.port}"
    output.say(
        f"""
dnsworker is up; its data is in {session.data_dir}.
Try in another terminal:

  dnsworker zone create example.org --email hostmaster@example.org
  dnsworker record create example.org www A 192.0.2.1
  dig {at} www.example.org
  dnsworker status

Ctrl-C stops it."""
    )
