"""The Celery application of a worker: its configuration, and the runtime of its process.

Separate from `worker`, which runs it, so that `celery -A dnsworker.app …` (Flower, `inspect`) can load it
alone; it is made from the environment then.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Celery, signals

from dnsworker.errors import ConfigError
from dnsworker.monitoring.health import Pulse
from dnsworker.settings import Settings, load_settings
from dnsworker.wakeups import CelerySignals

log = logging.getLogger(__name__)

#: The loop that takes messages comes round every second. A worker in which it doesn't is restarted.
LONGEST_ROUND_S = 30.0

#: Makes the runtime of a process; a test gives its own.
MakeRuntime = Callable[[Settings, CelerySignals], Any]


class WorkerApp(Celery):
    """The application of one process, with the settings that it was made from."""

    def __init__(self, settings: Settings, make_runtime: MakeRuntime | None = None) -> None:
        super().__init__("dnsworker", set_as_current=False)
        self.settings = settings
        self.signals = CelerySignals(self, settings.ca_bundle)
        #: Whether this worker takes the queues of targets that come later.
        self.follows_targets = True
        self.is_prepared = False
        #: Whether it takes messages: beaten by the loop that does.
        self.pulse = Pulse(LONGEST_ROUND_S)
        #: What is told of what happens here; of child processes as well, where there are some.
        self.registry: Any = None
        self._make_runtime = make_runtime or self._make_own
        self._runtime: Any = None
        self._events: Any = None
        self._pid = os.getpid()
        self._starting = threading.Lock()

    @property
    def runtime(self) -> Any:
        """The started runtime of this process. Raises `ConfigError`, or one of `database.AWAY`."""
        if self._pid != os.getpid():  # a child of the prefork pool: threads and locks were left behind
            self._pid, self._runtime, self._starting = os.getpid(), None, threading.Lock()
            self.signals.after_fork()
        with self._starting:
            if self._runtime is None:
                runtime = self._make_runtime(self.settings, self.signals)
                runtime.start()
                self._runtime = runtime
            return self._runtime

    def stop_runtime(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None and self._pid == os.getpid():
            runtime.stop()
        self.signals.close()

    @property
    def started_runtime(self) -> Any:
        """The runtime, if it has been started; without waiting for that."""
        return self._runtime

    def count_events(self, registry: Any = None) -> None:
        """Count what happens from now on, for `registry`, or one of its own."""
        from dnsworker.monitoring.events import Events

        self._events = Events()
        self.registry = registry or self._events.registry

    def _make_own(self, settings: Settings, tell: CelerySignals) -> Any:
        from dnsworker.runtime import Runtime

        return Runtime(settings, tell, self._events)

    def target_names(self) -> list[str] | None:
        """The targets of all pools; None while the database is away."""
        from dnsworker.database import AWAY

        try:
            names: list[str] = self.runtime.target_names()
        except AWAY as exc:
            log.debug("can't ask for the targets: %s", type(exc).__name__)
            return None
        return names


def make_app(settings: Settings, make_runtime: MakeRuntime | None = None) -> WorkerApp:
    """A worker's application. Raises `ConfigError` where only the wheel is installed."""
    try:
        configuration = importlib.import_module("celeryconfig").configuration
    except (ModuleNotFoundError, AttributeError) as exc:
        raise ConfigError(
            "workers run from a checkout or the image; the wheel is for submitting (no celeryconfig.py)"
        ) from exc
    app = WorkerApp(settings, make_runtime)
    app.config_from_object(configuration(settings))
    return app


@signals.setup_logging.connect(weak=False)
def _keep_logging(**_: Any) -> None:
    """A receiver is all that Celery needs to leave the logging as it is."""


@cache
def _app_of_environment() -> WorkerApp:
    return make_app(load_settings())


def __getattr__(name: str) -> Any:
    # `celery -A dnsworker.app` looks for this; made on demand because it reads the environment.
    if name != "app":
        raise AttributeError(name)
    try:
        return _app_of_environment()
    except ConfigError as exc:
        raise SystemExit(f"dnsworker: {exc}") from exc


@signals.celeryd_init.connect(weak=False)
def _on_init(instance: Any = None, options: Any = None, **_: Any) -> None:
    """A worker that was started by `celery -A dnsworker.app worker`."""
    app = instance.app
    if isinstance(app, WorkerApp) and not app.is_prepared:
        from dnsworker.logs import set_up_logging
        from dnsworker.worker import prepare, watch

        set_up_logging(app.settings)
        try:
            stop_watching = watch(app, forks=_forks((options or {}).get("pool") or app.conf.worker_pool))
            prepare(app)
            signals.worker_shutdown.connect(lambda **_: app.stop_runtime(), weak=False)
            signals.worker_shutdown.connect(lambda **_: stop_watching(), weak=False)
        except ConfigError as exc:  # as an exception, Celery would log it and go on
            raise SystemExit(f"dnsworker: {exc}") from exc


def _forks(pool: Any) -> bool:
    """Whether tasks run in child processes."""
    from celery import concurrency

    return bool(concurrency.get_implementation(pool).__module__ == "celery.concurrency.prefork")
