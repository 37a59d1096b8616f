"""NSD, its zones added at run time through its control socket (TLS) and taken from patterns."""

from __future__ import annotations

import base64
import secrets
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import dns.exception
import dns.message
import dns.query

from dev.servers.process import ServerError
from dev.servers.server import Server

#: What nsd-control-setup makes, with keys that are quicker to make.
_CERTIFICATE = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
_FILES = ("nsd_server.key", "nsd_server.pem", "nsd_control.key", "nsd_control.pem")


class Nsd(Server):
    """A private nsd that starts without zones.

    Its pattern `dnsworker` makes a zone a secondary of `primary`, to be transferred on with a key; `open` the
    same without one; `patterns` may bring others.
    """

    package: ClassVar[str] = "nsd"

    port: int
    control_port: int

    def __init__(self, *, primary: tuple[str, int] = ("127.0.0.1", 9), patterns: str = "") -> None:
        """`primary`: address and port; `patterns`: more clauses of nsd.conf."""
        self.primary = primary
        self.key_name, self.key_secret = "dnsworker", base64.b64encode(secrets.token_bytes(32)).decode()
        self._patterns = patterns
        self._pem: dict[str, bytes] = {}
        super().__init__()

    def target_options(self) -> dict[str, Any]:
        """`options` of a `type: nsd` target in pools.yaml."""
        return {
            "host": self.address,
            "port": self.port,
            "control_host": self.address,
            "control_port": self.control_port,
            "server_cert_file": str(self.folder / "nsd_server.pem"),
            "control_cert_file": str(self.folder / "nsd_control.pem"),
            "control_key_file": str(self.folder / "nsd_control.key"),
            "pattern": "dnsworker",
            "tsig_key": f"{self.key_name}:{self.key_secret}",
        }

    def nameserver(self) -> dict[str, Any]:
        """An entry of `nameservers` in pools.yaml."""
        return {"host": self.address, "port": self.port}

    def control(self, *arguments: str) -> str:
        """One nsd-control command; what it says. Raises `ServerError` with its words."""
        done = subprocess.run(
            [self._program("nsd-control"), "-c", str(self.folder / "nsd.conf"), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"nsd-control {' '.join(arguments)}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def _claim_ports(self) -> None:
        self.port, self.control_port = self._port(), self._port()

    def _configure(self) -> None:
        self._write_certificates()
        (self.folder / "zones").mkdir(exist_ok=True)
        (self.folder / "nsd.conf").write_text(self._conf())

    def _conf(self) -> str:
        folder = self.folder
        host, port = self.primary
        secondary = f"""\
    zonefile: "zones/%s.zone"
    request-xfr: {host}@{port} NOKEY
    allow-notify: {host} NOKEY
"""
        return f"""\
server:
    ip-address: {self.address}@{self.port}
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    zonesdir: "{folder}"
    pidfile: ""
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    verbosity: 2
    xfrd-reload-timeout: 0
remote-control:
    control-enable: yes
    control-interface: {self.address}
    control-port: {self.control_port}
    server-key-file: "{folder}/nsd_server.key"
    server-cert-file: "{folder}/nsd_server.pem"
    control-key-file: "{folder}/nsd_control.key"
    control-cert-file: "{folder}/nsd_control.pem"
key:
    name: "{self.key_name}"
    algorithm: hmac-sha256
    secret: "{self.key_secret}"
pattern:
    name: "dnsworker"
{secondary}\
    provide-xfr: {self.address} {self.key_name}
pattern:
    name: "open"
{secondary}\
    provide-xfr: {self.address} NOKEY
{self._patterns}
"""

    def _write_certificates(self) -> None:
        """The server's, signed by itself, and one for clients, signed by the server's."""
        if not self._pem:
            folder = str(self.folder)
            self._openssl(f"{_CERTIFICATE} -subj /CN=nsd -keyout nsd_server.key -out nsd_server.pem", folder)
            self._openssl(
                f"{_CERTIFICATE} -subj /CN=nsd-control -CA nsd_server.pem -CAkey nsd_server.key "
                "-keyout nsd_control.key -out nsd_control.pem",
                folder,
            )
            self._pem = {name: (self.folder / name).read_bytes() for name in _FILES}
        for name, octets in self._pem.items():
            path = Path(self.folder / name)
            path.write_bytes(octets)
            path.chmod(0o600)

    @staticmethod
    def _openssl(arguments: str, folder: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments.split()],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"openssl {arguments}: {done.stderr.strip()}")

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("nsd"), "-d", "-c", str(self.folder / "nsd.conf")], {}

    def _answers(self) -> bool:
        # Any answer will do; without zones it is REFUSED.
        query = dns.message.make_query(".", "SOA")
        try:
            # TCP first: it refuses at once while nobody listens, UDP would wait.
            dns.query.tcp(query, self.address, timeout=0.5, port=self.port)
            dns.query.udp(query, self.address, timeout=0.5, port=self.port)
            self.control("status")
        except (dns.exception.DNSException, ServerError):
            return False
        return True
