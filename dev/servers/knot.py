"""Knot DNS with a configuration database: zones added and removed at run time over its control socket."""

from __future__ import annotations

import base64
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import dns.exception
import dns.message
import dns.query

from dev.servers.process import ServerError
from dev.servers.server import Server


class Knot(Server):
    """A private knotd that starts without zones."""

    package: ClassVar[str] = "knot"

    port: int

    def __init__(self, *, algorithm: str = "hmac-sha256") -> None:
        """`algorithm`: of its TSIG key."""
        self.algorithm = algorithm
        self.key_name = "dnsworker"
        self.key_secret = base64.b64encode(secrets.token_bytes(32)).decode()
        super().__init__()

    @property
    def control_socket(self) -> Path:
        return self.folder / "knot.sock"

    def key_options(self) -> dict[str, Any]:
        """Where it answers and the key that it takes: `options` of a `type: rfc2136` target."""
        return {
            "host": self.address,
            "port": self.port,
            "tsig_key_name": self.key_name,
            "tsig_key_secret": self.key_secret,
            "tsig_key_algorithm": self.algorithm,
        }

    def target_options(self) -> dict[str, Any]:
        """`options` of a `type: knot` target in pools.yaml."""
        return {**self.key_options(), "control_socket": str(self.control_socket)}

    def nameserver(self) -> dict[str, Any]:
        """An entry of `nameservers` in pools.yaml."""
        return {"host": self.address, "port": self.port}

    def knotc(self, *arguments: str) -> str:
        """One knotc command; what it says. Raises `ServerError` with its words."""
        return self._run("knotc", "--socket", str(self.control_socket), "--timeout", "20", *arguments)

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        for name in ("run", "database", "zones"):
            (self.folder / name).mkdir(exist_ok=True)
        if (self.folder / "confdb").exists():  # made at the first start; it holds the zones since
            return
        configuration = self.folder / "knot.conf"
        configuration.write_text(self._configuration())
        self._run("knotc", "--confdb", str(self.folder / "confdb"), "conf-import", str(configuration))

    def _configuration(self) -> str:
        return f"""\
server:
    rundir: "{self.folder}/run"
    listen: {self.address}@{self.port}
    udp-workers: 1
    tcp-workers: 2
    background-workers: 2
control:
    listen: "{self.control_socket}"
database:
    storage: "{self.folder}/database"
log:
  - target: stderr
    any: info
    control: warning
key:
  - id: {self.key_name}
    algorithm: {self.algorithm}
    secret: "{self.key_secret}"
acl:
  - id: dnsworker
    key: {self.key_name}
    action: [query, transfer, update]
template:
  - id: default
    storage: "{self.folder}/zones"
    acl: dnsworker
    zonefile-sync: -1
    zonefile-load: none
    journal-content: all
"""

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("knotd"), "--confdb", str(self.folder / "confdb")], {}

    def _answers(self) -> bool:
        # Any answer will do; without zones it is REFUSED. It answers when it has loaded its zones.
        query = dns.message.make_query(".", "SOA")
        try:
            # TCP first: it refuses at once while nobody listens, UDP would wait.
            dns.query.tcp(query, self.address, timeout=0.5, port=self.port)
            dns.query.udp(query, self.address, timeout=0.5, port=self.port)
        except dns.exception.DNSException:
            return False
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(0.5)
            control.connect(str(self.control_socket))
        return True

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._program(program), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode:
            raise ServerError(
                f"{program} {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout
