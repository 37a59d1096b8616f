"""The small HTTP server of a process: `/metrics`, `/health/live`, `/health/ready`.

It has a thread of its own, and threads for whoever asks, so that it answers however busy the process is. It
says nothing secret and takes nothing in; what it tells (names of targets, how much is going on) is for a
network of yours, hence loopback unless somebody says otherwise.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)

from dnsworker.errors import ConfigError
from dnsworker.logs import without_secrets
from dnsworker.monitoring.health import Health
from dnsworker.settings import Settings

log = logging.getLogger(__name__)

#: For a whole request to come in.
REQUEST_S = 10.0
PLAIN = [("Content-Type", "text/plain; charset=utf-8")]

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
S = TypeVar("S", bound="MonitoringServer")


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s %s", self.address_string(), format % args)

    def address_string(self) -> str:
        return str(self.client_address[0])  # its own way looks the name up


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As HTTPServer's and WSGIServer's, which look the machine's name up: that may take seconds.
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for metrics or health broke off", exc_info=True)


class MonitoringServer:
    """Serves until `stop`."""

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry | None) -> None:
        """`port` 0: a free one. `registry` None: there are no metrics. Raises `ConfigError`."""
        self._health = health
        self._metrics: Any = None if registry is None else make_wsgi_app(registry)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = type("_ServerOfFamily", (_Server,), {"address_family": family})
        try:
            self._server: _Server = kind((host, port), _Handler)
        except OSError as exc:
            raise ConfigError(
                f"can't listen for metrics on {host} port {port}: {exc.strerror or exc}; each process needs "
                "a DNSWORKER_METRICS_PORT of its own, and DNSWORKER_METRICS_HOST an address of this machine"
            ) from exc
        self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="monitoring", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def start(self: S) -> S:
        self._thread.start()
        host = self._server.server_name
        shown = f"[{host}]" if ":" in host else host
        log.info("%s: health and metrics at http://%s:%d", self._health.role, shown, self.port)
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [*PLAIN, ("Allow", "GET, HEAD")])
            return [b"only GET and HEAD\n"]
        path = environ["PATH_INFO"]
        if path == "/metrics" and self._metrics is not None:
            body: Iterable[bytes] = self._metrics(environ, start_response)
            return body
        if path in ("/health/live", "/health/ready"):
            return self._tell(path == "/health/ready", start_response)
        start_response("404 Not Found", PLAIN)
        return [b"there are /metrics, /health/live and /health/ready\n"]

    def _tell(self, is_ready: bool, start_response: StartResponse) -> Iterable[bytes]:
        troubles = self._health.troubles(is_ready=is_ready)
        told = {
            "role": self._health.role,
            "ready" if is_ready else "live": not troubles,
            "troubles": {name: without_secrets(said) for name, said in troubles.items()},
        }
        status = "503 Service Unavailable" if troubles else "200 OK"
        start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(told).encode() + b"\n"]


def of_this_process(registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """`registry`, or a new one, with what there is to say about a process of Python's."""
    registry = registry or CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("dnsworker_build", "The version that runs here.", registry=registry).info({"version": _version()})
    return registry


def _version() -> str:
    try:
        return metadata.version("dnsworker")
    except metadata.PackageNotFoundError:  # run from a checkout that isn't installed
        return "unknown"


def serve(settings: Settings, health: Health, registry: CollectorRegistry | None) -> MonitoringServer | None:
    """Serve where the settings say; None where they say nothing. Raises `ConfigError`."""
    if settings.metrics_port is None:
        return None
    return MonitoringServer(settings.metrics_host, settings.metrics_port, health, registry).start()
