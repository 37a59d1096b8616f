"""The two processes that run tasks: worker and scheduler.

Separate from the application that they run, which other programs load without running it.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.beat import Scheduler, SchedulingError, Service
from celery.utils.nodenames import default_nodename, host_format

from dnsworker import queues as queue_names
from dnsworker.app import MakeRuntime, WorkerApp, make_app
from dnsworker.monitoring.health import Pulse
from dnsworker.settings import Settings

log = logging.getLogger(__name__)

#: A thread that doesn't answer for so long is stuck; a database that doesn't is away.
STUCK_S, DATABASE_S = 30.0, 3.0
#: Between two attempts to reach a database that is away when a worker starts.
START_PAUSE_S = 2.0
#: Objects made between two looks for garbage; looks between two at what is older.
YOUNG_OBJECTS, LOOKS = 10_000, 10
#: Celery's loggers that tell each task at INFO; ours tell what happened to which zone.
CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat")


def run_worker(
    settings: Settings,
    queues: list[str] | None = None,
    concurrency: int | None = None,
    *,
    hostname: str | None = None,
    with_beat: bool = False,
    on_ready: Callable[[], None] | None = None,
    make_runtime: MakeRuntime | None = None,
) -> None:
    """Run a worker in this thread, which must be the main one, until SIGTERM or Ctrl-C.

    `queues` names those to take (all by default); `with_beat` runs the scheduler in it, too; `on_ready` is
    called once, when it takes messages. Raises `ConfigError` at start, `SystemExit` when the worker ends
    otherwise than asked.
    """
    # Celery 5.7 calls what redis-py 8 calls deprecated (2026-11-23): a line for every first result.
    warnings.filterwarnings("ignore", "Call to deprecated setex", DeprecationWarning)
    app = make_app(settings, make_runtime)
    _quieten(settings)
    stop_watching = watch(app, tells_state=with_beat)
    try:
        _run(app, queues, concurrency, hostname=hostname, with_beat=with_beat, on_ready=on_ready)
    finally:
        stop_watching()


def _run(
    app: WorkerApp,
    queues: list[str] | None,
    concurrency: int | None,
    *,
    hostname: str | None,
    with_beat: bool,
    on_ready: Callable[[], None] | None,
) -> None:
    settings = app.settings
    prepare(app, queues)
    # Mingle and gossip are Celery's talk between workers; ours share a database.
    worker = app.Worker(
        concurrency=concurrency,
        hostname=host_format(default_nodename(hostname or "")),  # `%h` and so on, as on Celery's command line
        loglevel=settings.log_level.upper(),
        quiet=True,
        without_mingle=True,
        without_gossip=True,
    )
    ways: list[str] = []
    signals.worker_shutting_down.connect(lambda how="", **_: ways.append(how), weak=False)
    if on_ready is not None:
        signals.worker_ready.connect(lambda **_: on_ready(), weak=False)
    scheduler = _start_scheduler(app) if with_beat else None
    try:
        worker.start()
    finally:
        if scheduler is not None:
            scheduler.stop()
        app.stop_runtime()
    # Celery's code for Ctrl-C is 1 even when everything ended in order.
    if worker.exitcode and ways != ["Warm"]:
        raise SystemExit(worker.exitcode)


def watch(app: WorkerApp, *, forks: bool = False, tells_state: bool = False) -> Callable[[], None]:
    """Answer for the worker's metrics and health from now on, if a port is set; returns what ends that.

    `forks`: tasks will run in child processes. `tells_state`: there is no exporter besides, so it also tells
    how things stand. Raises `ConfigError`.
    """
    if app.settings.metrics_port is None:
        app.count_events()
        return lambda: None
    from dnsworker.monitoring import sharing
    from dnsworker.monitoring.health import Health, Probe
    from dnsworker.monitoring.server import of_this_process, serve

    app.count_events(sharing.share_with_children() if forks else None)
    health = Health(
        "worker",
        live={"broker loop": app.pulse.check, "verifier": Probe(lambda: _verifier_check(app), STUCK_S)},
        ready={
            "broker": lambda: None if app.pulse.is_beating else "takes no messages yet, or not now",
            "database": Probe(lambda: _database_check(app), DATABASE_S),
        },
    )
    registry = of_this_process(app.registry)
    if tells_state:
        from dnsworker import database
        from dnsworker.monitoring.state import State

        registry.register(State(database.connect(app.settings.database(), pool_size=1)))
    server = serve(app.settings, health, registry)
    return server.stop if server is not None else lambda: None


def _database_check(app: WorkerApp) -> str | None:
    from dnsworker.database import AWAY

    runtime = app.started_runtime
    if runtime is None:
        return "not reached yet"
    try:
        runtime.check_database()
    except AWAY as exc:
        return _first_line(exc)
    return None


def _verifier_check(app: WorkerApp) -> str | None:
    runtime = app.started_runtime
    return None if runtime is None or runtime.is_verifying(STUCK_S) else f"stuck for {STUCK_S:g} s"


def prepare(app: WorkerApp, wanted: list[str] | None = None) -> None:
    """Start the runtime and choose the queues; waits for a database that is away. Raises `ConfigError`."""
    from dnsworker.database import AWAY

    app.is_prepared = True
    _say_whose(app.settings)
    app.follows_targets = queue_names.takes_all_deliveries(wanted)
    queue_names.select_queues(wanted, [])  # a mistyped name is said before anything is waited for
    attempts = 0
    while True:
        try:
            targets = app.runtime.target_names()
            break
        except AWAY as exc:
            if attempts % 15 == 0:
                log.warning("waiting for the database, which is away: %s", _first_line(exc))
            attempts += 1
            time.sleep(START_PAUSE_S)
    selected = queue_names.select_queues(wanted, targets)
    app.conf.task_queues = selected
    app.amqp.queues.clear()
    for queue in selected:
        app.amqp.queues.add(queue)
    signals.worker_shutting_down.connect(_Watchdog(app.settings.shutdown_grace_s), weak=False)
    signals.worker_ready.connect(_say_ready, weak=False)
    _collect_garbage_rarely()
    log.info("taking %s", ", ".join(queue.name for queue in selected) or "no queue yet")


def _collect_garbage_rarely() -> None:
    """Little of ours is in cycles, and by Python's defaults all that a large change makes, and all that was
    imported, is looked at again and again while that is taken in."""
    gc.collect()
    gc.freeze()  # what is there now stays; also keeps it shared with children (prefork)
    gc.set_threshold(YOUNG_OBJECTS, LOOKS, LOOKS)


def run_beat(settings: Settings) -> None:
    """Run the scheduler in this thread, which must be the main one, until SIGTERM or Ctrl-C."""
    _quieten(settings)
    app = make_app(settings)
    service = _service(app)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    stop_watching = _watch_beat(app, service)
    log.info("sweeping every %g s", settings.sweep_interval_s)
    try:
        service.start()
    finally:
        stop_watching()


def _watch_beat(app: WorkerApp, service: Service) -> Callable[[], None]:
    if app.settings.metrics_port is None:
        return lambda: None
    from dnsworker.monitoring.health import Health
    from dnsworker.monitoring.server import of_this_process, serve

    scheduler = service.scheduler
    assert isinstance(scheduler, WatchedScheduler)
    scheduler.pulse.beat()
    health = Health("beat", live={"clock": scheduler.pulse.check}, ready={"broker": scheduler.check_broker})
    server = serve(app.settings, health, of_this_process())
    return server.stop if server is not None else lambda: None


def _say_ready(sender: Any = None, **_: Any) -> None:
    """Celery's own line is too quiet to be seen; scripts and people wait for one."""
    log.info("%s ready.", getattr(sender, "hostname", "worker"))


def _say_whose(settings: Settings) -> None:
    """Celery says it in five lines; the embedded system, tried out in a container, says nothing."""
    warnings.filterwarnings("ignore", "You're running the worker with superuser", Warning)
    if os.geteuid() == 0 and not settings.is_embedded:
        log.warning("running as root; give the worker a user of its own")


def _start_scheduler(app: WorkerApp) -> Service:
    service = _service(app)
    threading.Thread(target=service.start, name="dnsworker-beat", daemon=True).start()
    return service


def _service(app: WorkerApp) -> Service:
    # In memory: the schedule has one entry, due at once after a start; a file would only lock out a second.
    return Service(app, scheduler_cls=WatchedScheduler)


class WatchedScheduler(Scheduler):
    """Celery's, that tells whether it goes on and whether its messages get away."""

    def __init__(self, *args: Any, **options: Any) -> None:
        #: While the broker is away each attempt beats; those are up to half a minute apart.
        self.pulse = Pulse(3 * STUCK_S)
        self._sent_at: float | None = None
        super().__init__(*args, **options)
        assert isinstance(self.app, WorkerApp)
        self._interval_s = self.app.settings.sweep_interval_s
        self._longest_s = max(5.0, 5 * self._interval_s)

    def tick(self, *args: Any, **options: Any) -> float:
        self.pulse.beat()
        return super().tick(*args, **options)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one message. Celery's own takes a broker that is away for an error, and prints the stack."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as exc:
            log.warning("%s; the next one is due in %g s", exc, self._interval_s)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        sent = super().apply_async(*args, **options)
        self._sent_at = time.monotonic()
        return sent

    def check_broker(self) -> str | None:
        """Why it can't do its work: its last message is older than several of its intervals."""
        if self._sent_at is None:
            return "nothing has been sent yet"
        age_s = time.monotonic() - self._sent_at
        return f"nothing could be sent for {age_s:.0f} s" if age_s > self._longest_s else None

    def _ensure_connected(self) -> Any:
        def on_error(exc: BaseException, interval_s: float) -> None:
            self.pulse.beat()
            log.warning("the broker is away, next attempt in %g s: %s", interval_s, _first_line(exc))

        return self.connection.ensure_connection(on_error, self.app.conf.broker_connection_max_retries)


class _Watchdog:
    """Ends a process hard whose tasks don't end: the broker delivers again what they held."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._timer: threading.Timer | None = None

    def __call__(self, **_: Any) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._grace_s, self._end)
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        log.critical("tasks still run %g s after the order to stop: ending hard", self._grace_s)
        logging.shutdown()
        os._exit(1)


def _quieten(settings: Settings) -> None:
    if settings.log_level.upper() != "DEBUG":
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
