"""Runs the site in the foreground, until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from dnsworker.dashboard.login import Login, is_loopback
from dnsworker.dashboard.site import Site
from dnsworker.errors import ConfigError
from dnsworker.settings import Settings

#: A browser that still loads a page when we are told to stop.
STOP_GRACE_S = 5


def run(settings: Settings, host: str, port: int, *, no_login: bool, on_start: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `on_start` is told the address once it answers there.

    Raises `ConfigError` without a login, unless the address is this machine's own and `no_login` is asked
    for.
    """
    login = find_login(settings, host, no_login=no_login)
    with listening(host, port) as listener:
        on_start(address_of(host, listener.getsockname()[1]))
        server_of(Site(settings, login)).run(sockets=[listener])


def server_of(site: Site) -> uvicorn.Server:
    """What answers for the site, on sockets that it is given."""
    return uvicorn.Server(
        uvicorn.Config(
            site.app(),
            log_config=None,  # ours is set up
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_GRACE_S,
            lifespan="on",
        )
    )


def find_login(settings: Settings, host: str, *, no_login: bool) -> Login | None:
    """Who may see the pages; None: everybody on this machine."""
    if settings.dashboard_auth is not None:
        if no_login:
            raise ConfigError("--no-login, and DNSWORKER_DASHBOARD_AUTH is set: leave out one of them")
        return Login(settings.dashboard_auth.get_secret_value())
    if not no_login:
        raise ConfigError(
            "DNSWORKER_DASHBOARD_AUTH is not set: set it to user:password (or DNSWORKER_DASHBOARD_AUTH_FILE "
            "to a file with that), or use --no-login on this machine's own address"
        )
    if not is_loopback(host):
        raise ConfigError(f"--no-login is for this machine alone, as on 127.0.0.1, and not for {host}")
    return None


def listening(host: str, port: int) -> socket.socket:
    """A socket on which connections wait already. Raises `ConfigError` when there can't be one."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as exc:
        raise ConfigError(f"can't listen on {host} port {port}: {exc.strerror or exc}") from exc


def address_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
