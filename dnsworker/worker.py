"""The two processes that run tasks: worker and scheduler.

Separate from the application that they run, which other programs load without running it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.beat import Scheduler, Service
from celery.utils.nodenames import default_nodename, host_format

from dnsworker import queues as queue_names
from dnsworker.app import MakeRuntime, WorkerApp, make_app
from dnsworker.settings import Settings

log = logging.getLogger(__name__)

#: Between two attempts to reach a database that is away when a worker starts.
START_PAUSE_S = 2.0
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
    log.info("taking %s", ", ".join(queue.name for queue in selected) or "no queue yet")


def run_beat(settings: Settings) -> None:
    """Run the scheduler in this thread, which must be the main one, until SIGTERM or Ctrl-C."""
    _quieten(settings)
    service = _service(make_app(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    log.info("sweeping every %g s", settings.sweep_interval_s)
    service.start()


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
    return Service(app, scheduler_cls=Scheduler)


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
