"""`dnsworker exporter` and `dnsworker health`: what Prometheus and a supervisor ask for."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, with_session
from dnsworker.errors import ConfigError

if TYPE_CHECKING:
    from dnsworker.settings import Settings

#: Of whoever has set none, for the one process of its kind.
EXPORTER_PORT = 9780
#: A supervisor that asks every ten seconds wants to know within five.
TIMEOUT_S = 4.0
DATABASE_S = 3.0


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"[default: DNSWORKER_METRICS_PORT or {EXPORTER_PORT}]"
)
@with_session
def exporter(session: Session, port: int | None) -> None:
    """Tell Prometheus how things stand: backlogs, lags, breakers, zones, queues.

    One of them for the whole system. What happens is told by the workers, each for itself.
    """
    from dnsworker import database
    from dnsworker.cli import broker
    from dnsworker.logs import set_up_logging
    from dnsworker.monitoring.health import Health, Probe
    from dnsworker.monitoring.server import of_this_process, serve
    from dnsworker.monitoring.state import State

    settings = session.settings
    if port is None:
        port = EXPORTER_PORT if settings.metrics_port is None else settings.metrics_port
    settings = settings.model_copy(update={"metrics_port": port})
    set_up_logging(settings)
    engine = database.connect(settings.database(), pool_size=2)
    is_ours = False

    def check_database() -> str | None:
        nonlocal is_ours
        try:
            if not is_ours:  # once: it reads the migrations
                database.check_version(engine)
                is_ours = True
            database.ping(engine)
        except ConfigError as exc:
            return exc.message
        except database.AWAY as exc:
            return (str(exc).splitlines() or [type(exc).__name__])[0]
        return None

    registry = of_this_process()
    registry.register(
        State(engine, None if settings.is_embedded else lambda targets: broker.depths(settings, targets))
    )
    health = Health("exporter", ready={"database": Probe(check_database, DATABASE_S)})
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = serve(settings, health, registry)
    stopped.wait()
    if server is not None:
        server.stop()
    engine.dispose()


@click.command()
@click.argument("role", type=click.Choice(["worker", "beat", "exporter"]))
@click.option("--live", is_flag=True, help="Ask whether it lives, not whether it can work now.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it has another DNSWORKER_METRICS_PORT.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=TIMEOUT_S, show_default=True, help="Seconds."
)
@with_session
def health(session: Session, role: str, live: bool, port: int | None, timeout: float) -> None:
    """Ask a process on this machine for its health; 0 is well, 1 isn't.

    For a container's health check and a supervisor. The process and this command need the same
    DNSWORKER_METRICS_PORT. Without --live: whether it is ready, with its broker and database.
    """
    settings = session.settings
    if port is None:
        port = settings.metrics_port or (EXPORTER_PORT if role == "exporter" else None)
    if port is None:
        raise ConfigError(
            f"DNSWORKER_METRICS_PORT is not set: the {role} has no port to be asked at; set it for both"
        )
    told = _ask(settings, port, "live" if live else "ready", timeout)
    troubles = dict(told.get("troubles", {}))
    if not troubles and told.get("role") != role:
        troubles["role"] = f"port {port} is another process's ({told.get('role')})"
    if session.as_json:
        output.print_json({**told, "troubles": troubles})
    else:
        is_so = "live" if live else "ready"
        output.say(f"{role} is not {is_so}" if troubles else f"{role} is {is_so}")
        for name, said in troubles.items():
            output.say(f"  {name}: {said}")
    if troubles:
        click.get_current_context().exit(FAILED)


def _ask(settings: Settings, port: int, what: str, timeout_s: float) -> dict[str, Any]:
    """What the process says, or (as trouble) that it says nothing."""
    import http.client
    import json

    # Whoever listens on all addresses of a machine listens on its loopback, too.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.metrics_host, settings.metrics_host)  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", f"/health/{what}")
        said = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as exc:
        reason = str(exc) or type(exc).__name__
        return {"troubles": {"process": f"no answer at {host} port {port}: {reason}"}}
    finally:
        connection.close()
    return said if isinstance(said, dict) else {}
