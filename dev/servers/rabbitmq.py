"""A RabbitMQ node of its own: own epmd, own cookie, own folders, loopback only."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import urllib.error
import urllib.request
from typing import ClassVar

import amqp

from dev.servers.process import Process, ServerError, wait_until
from dev.servers.server import Server

USER = "dnsworker"
#: The real scripts. What Debian puts into PATH is a wrapper that insists on root or on user rabbitmq.
SCRIPTS = ("/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin")
#: rabbitmqctl starts Erlang first: about a second alone, several on a busy machine.
CONTROL_TIMEOUT_S = 60


class RabbitMQ(Server):
    """A private node with one administrator (`dnsworker`, in `amqp_url`) and the vhost `/`.

    epmd, which Erlang nodes find each other by, is a child of ours too: else the node would leave one
    behind that serves the whole machine.
    """

    package: ClassVar[str] = "rabbitmq-server"
    ready_s: ClassVar[float] = 120.0

    port: int
    management_port: int

    def __init__(self, *, management: bool = False, settings: str = "") -> None:
        """`management`: also its web interface and API, at `management_url`, by which users and vhosts come
        and go without a start of Erlang for each. `settings`: rabbitmq.conf.
        """
        self.password = secrets.token_urlsafe(16)
        self._management, self._settings = management, settings
        self._epmd: Process | None = None
        super().__init__()

    @property
    def amqp_url(self) -> str:
        return self.url_for(USER, self.password)

    @property
    def has_management(self) -> bool:
        return self._management

    @property
    def api_url(self) -> str:
        """Of the management API, password included."""
        return f"http://{USER}:{self.password}@{self.address}:{self.management_port}/api/"

    @property
    def management_url(self) -> str:
        return f"http://{self.address}:{self.management_port}"

    def url_for(self, user: str, password: str, vhost: str = "/") -> str:
        return f"amqp://{user}:{password}@{self.address}:{self.port}/{vhost}"

    def add_user(
        self, name: str, password: str, configure: str = "", write: str = "", read: str = "", vhost: str = "/"
    ) -> str:
        """A user with these permissions (regular expressions, "" for none). Returns its AMQP URL."""
        self._define(
            users=[{"name": name, "password": password, "tags": ""}],
            permissions=[
                {"user": name, "vhost": vhost, "configure": configure, "write": write, "read": read}
            ],
        )
        return self.url_for(name, password, vhost)

    def add_vhost(self, name: str) -> str:
        """An empty vhost, so that two tests share the node and nothing else. Returns its AMQP URL."""
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._define(vhosts=[{"name": name}], permissions=[{"user": USER, "vhost": name, **everything}])
        return self.url_for(USER, self.password, name)

    def remove_vhost(self, name: str) -> None:
        """With all its queues; connections to it are closed."""
        if self._management:
            self._ask_api("DELETE", f"vhosts/{name}")
        else:
            self.control("delete_vhost", name)

    def settle(self) -> None:
        """Write down which quorum queues there are, as RabbitMQ 3.10 does by itself within five seconds.

        One declared just before a `kill` comes back without a leader, for ever (seen 2026-11-23; RabbitMQ
        issue 15725 looks the same). That is the broker's fault and not what a test of ours is about.
        """
        self.control("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def stop_app(self) -> None:
        """The broker closes, the Erlang node stays: quicker than a restart. Clients see the port refuse."""
        self.control("stop_app")

    def start_app(self) -> None:
        self.control("start_app")
        wait_until(self._is_ready, self.ready_s, "RabbitMQ to answer")

    def _define(self, **definitions: list[dict[str, str]]) -> None:
        # One start of Erlang for all of it, or none; and no password in the list of processes.
        if self._management:
            self._ask_api("POST", "definitions", definitions)
        else:
            self.control("import_definitions", text=json.dumps(definitions))

    def _ask_api(self, method: str, path: str, body: object = None) -> None:
        """What rabbitmqctl can do too, in milliseconds. Raises `ServerError`."""
        login = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.management_url}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S).close()
        except urllib.error.HTTPError as exc:
            with exc:
                words = exc.read().decode("utf-8", "replace")
            raise ServerError(f"RabbitMQ refuses {method} {path}: {words}") from exc
        except urllib.error.URLError as exc:
            raise ServerError(f"RabbitMQ's API: {exc.reason}") from exc

    def control(self, *arguments: str, text: str | None = None) -> str:
        """One rabbitmqctl command, `text` for its input; what it says. Raises `ServerError`."""
        done = subprocess.run(
            [self._script("rabbitmqctl"), "--quiet", *arguments],
            env={**os.environ, **self._environment()},
            cwd=self.folder,
            input=text or "",
            capture_output=True,
            text=True,
            timeout=CONTROL_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            # The name of the command only: its arguments may hold a password.
            raise ServerError(f"rabbitmqctl {arguments[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _claim_ports(self) -> None:
        self.port, self.management_port = self._port(), self._port()
        self._epmd_port, self._dist_port = self._port(), self._port()

    def _configure(self) -> None:
        for name in ("home", "mnesia", "log"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        lines = [
            f"listeners.tcp.1 = {self.address}:{self.port}",
            f"default_user = {USER}",
            f"default_pass = {self.password}",
            "log.console = true",
            "log.file = false",
            # Its default asks for 50 MB; a laptop's or a runner's small /tmp would block all publishers.
            "disk_free_limit.absolute = 10MB",
            f"management.tcp.ip = {self.address}" if self._management else "",
            f"management.tcp.port = {self.management_port}" if self._management else "",
            self._settings,
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management]." if self._management else "[].")
        (self.folder / "env.conf").write_text("")
        # With a cookie in place, node and rabbitmqctl don't race to make one.
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        loopback = "{" + self.address.replace(".", ",") + "}"
        return {
            "HOME": str(self.folder / "home"),
            "RABBITMQ_NODENAME": f"dnsworker-{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            # The wrapper script, which would swallow a SIGKILL, replaces itself by Erlang …
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {loopback}",
            # rabbitmqctl may take any port, not just eleven for the whole machine.
            "RABBITMQ_CTL_DIST_PORT_MIN": "20000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "32000",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.address,
            "ERL_CRASH_DUMP_BYTES": "0",
            "LANG": "C.UTF-8",
        }

    def _command(self) -> tuple[list[str], dict[str, str]]:
        self._start_epmd()
        # … and needs no terminal for the shell that it then has.
        return [self._script("rabbitmq-server"), "-noinput", "-start_epmd", "false"], self._environment()

    def _start_epmd(self) -> None:
        if self._epmd and self._epmd.is_running:
            return
        self._epmd = Process(
            [self._program("epmd"), "-port", str(self._epmd_port), "-address", self.address],
            log_path=self.folder / "epmd.log",
            env={**os.environ, **self._environment()},
        )

        def answers() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection((self.address, self._epmd_port), timeout=0.5).close()
                return True
            return False

        wait_until(answers, 10, "epmd to answer")

    def _answers(self) -> bool:
        connection = amqp.Connection(
            f"{self.address}:{self.port}", userid=USER, password=self.password, connect_timeout=2
        )
        try:
            connection.connect()
            connection.close()
        except (amqp.AMQPError, OSError):
            return False
        return not self._management or self._management_answers()

    def _management_answers(self) -> bool:
        try:
            urllib.request.urlopen(self.management_url, timeout=1).close()
        except urllib.error.URLError:
            return False
        return True

    def close(self) -> None:
        self.stop()
        if self._epmd:
            self._epmd.stop()
        super().close()

    def _script(self, name: str) -> str:
        for folder in SCRIPTS:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                return path
        return self._program(name)
