"""PowerDNS Authoritative with SQLite, driven through its HTTP API."""

from __future__ import annotations

import json
import secrets
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import dns.exception
import dns.message
import dns.query

from dev.servers.process import ServerError
from dev.servers.server import Server

SCHEMAS = (
    "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
    "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
    "/usr/share/doc/pdns/schema.sqlite3.sql",
)


class PowerDNS(Server):
    """A private pdns_server that starts without zones, its caches as PowerDNS has them by default."""

    package: ClassVar[str] = "pdns-server pdns-backend-sqlite3"
    server_id: ClassVar[str] = "localhost"

    port: int
    api_port: int

    def __init__(self, **settings: str) -> None:
        """`settings`: those of pdns.conf, `_` for `-` (`query_cache_ttl="0"`); they replace our own."""
        self.api_key = secrets.token_urlsafe(24)
        self._settings = {name.replace("_", "-"): value for name, value in settings.items()}
        super().__init__()

    @property
    def api_url(self) -> str:
        return f"http://{self.address}:{self.api_port}"

    def target_options(self) -> dict[str, Any]:
        """`options` of a `type: powerdns` target in pools.yaml."""
        return {"api_url": self.api_url, "api_key": self.api_key, "server_id": self.server_id}

    def nameserver(self) -> dict[str, Any]:
        """An entry of `nameservers` in pools.yaml."""
        return {"host": self.address, "port": self.port}

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One call, `path` below `/api/v1/servers/localhost`; the answer decoded. Raises `HTTPError`."""
        request = urllib.request.Request(
            f"{self.api_url}/api/v1/servers/{self.server_id}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            text = response.read()
        return json.loads(text) if text else None

    def _claim_ports(self) -> None:
        self.port, self.api_port = self._port(), self._port()

    def _configure(self) -> None:
        database = self.folder / "pdns.sqlite3"
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": str(database),
            # Safe from kill -9, not from a power cut: there is nothing here to keep over one.
            "gsqlite3-pragma-synchronous": "0",
            "socket-dir": str(self.folder),
            "local-address": self.address,
            "local-port": str(self.port),
            "api": "yes",
            "api-key": self.api_key,
            "webserver": "yes",
            "webserver-address": self.address,
            "webserver-port": str(self.api_port),
            "webserver-allow-from": self.address,
            "allow-axfr-ips": self.address,
            "security-poll-suffix": "",  # no question to the maker over the Internet
            "daemon": "no",
            "guardian": "no",
            **self._settings,
        }
        (self.folder / "pdns.conf").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        if not database.exists():
            schema = next((path for path in map(Path, SCHEMAS) if path.exists()), None)
            if schema is None:
                raise ServerError(f"PowerDNS' SQLite schema is not installed: apt-get install {self.package}")
            connection = sqlite3.connect(database)
            connection.executescript(schema.read_text())
            connection.close()

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("pdns_server"), f"--config-dir={self.folder}"], {}

    def _answers(self) -> bool:
        query = dns.message.make_query(".", "SOA")
        try:
            # TCP first: it refuses at once while nobody listens, UDP would wait.
            dns.query.tcp(query, self.address, timeout=0.5, port=self.port)
            dns.query.udp(query, self.address, timeout=0.5, port=self.port)
            return bool(self.api("GET", "")["id"] == self.server_id)
        except (dns.exception.DNSException, urllib.error.URLError):
            return False
