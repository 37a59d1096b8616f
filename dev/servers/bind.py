"""BIND's named, authoritative only, with zones added and changed at run time (rndc, RFC 2136, TSIG)."""

from __future__ import annotations

import base64
import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import dns.exception
import dns.message
import dns.query

from dev.servers.process import ServerError
from dev.servers.server import Server

#: Of the key for rndc.
ALGORITHM = "hmac-sha256"


class Bind(Server):
    """A private named that starts without zones."""

    package: ClassVar[str] = "bind9 bind9-utils bind9-dnsutils"

    port: int
    rndc_port: int

    def __init__(
        self,
        *,
        max_records_per_type: int | None = None,
        options: str = "",
        statements: str = "",
        views: Sequence[str] = (),
        threads: int = 1,
        algorithm: str = ALGORITHM,
    ) -> None:
        """`options`: statements for named's `options {}`; one given here replaces our own of that name.

        `statements` stand outside of it. Each of `views` is for queries signed with a key of its own, the
        first one also for all that are not signed. `algorithm`: of its TSIG key.
        """
        self.algorithm = algorithm
        self.key_name, self.key_secret = "dnsworker", _secret()
        #: By view, the secret of the key of that name that leads there.
        self.view_secrets = {view: _secret() for view in views}
        self._statements = statements
        self.rndc_key_name, self.rndc_secret = "rndc-key", _secret()
        self.threads = threads
        self._extra = options
        if max_records_per_type is not None:
            self._extra += f"\n    max-records-per-type {max_records_per_type};"
        super().__init__()

    def target_options(self, view: str | None = None) -> dict[str, Any]:
        """`options` of a `type: bind9` target in pools.yaml."""
        options = {
            **self.key_options(),
            "rndc_host": self.address,
            "rndc_port": self.rndc_port,
            "rndc_key_name": self.rndc_key_name,
            "rndc_key_secret": self.rndc_secret,
            "rndc_key_algorithm": ALGORITHM,
        }
        if view is not None:
            options |= {"view": view, "tsig_key_name": view, "tsig_key_secret": self.view_secrets[view]}
        return options

    def key_options(self) -> dict[str, Any]:
        """Where it answers and the key that it takes: `options` of a `type: rfc2136` target."""
        return {
            "host": self.address,
            "port": self.port,
            "tsig_key_name": self.key_name,
            "tsig_key_secret": self.key_secret,
            "tsig_key_algorithm": self.algorithm,
        }

    def nameserver(self, view: str | None = None) -> dict[str, Any]:
        """An entry of `nameservers` in pools.yaml; in a view, asked with its key."""
        found: dict[str, Any] = {"host": self.address, "port": self.port}
        if view is not None:
            key = {"name": view, "secret": self.view_secrets[view], "algorithm": ALGORITHM}
            found["tsig_key"] = key
        return found

    def rndc(self, *arguments: str, timeout_s: float = 30.0) -> str:
        """One rndc command; what it says. Raises `ServerError` with its words."""
        done = subprocess.run(
            [self._program("rndc"), "-c", str(self.folder / "rndc.conf"), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"rndc {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _claim_ports(self) -> None:
        self.port, self.rndc_port = self._port(), self._port()

    def _configure(self) -> None:
        ours = {
            "directory": f'"{self.folder}"',
            "pid-file": "none",
            "session-keyfile": "none",
            "listen-on": f"port {self.port} {{ {self.address}; }}",
            "listen-on-v6": "{ none; }",
            "allow-new-zones": "yes",
            "serial-query-rate": "1000",  # 20 by default, and every new zone takes one
            "allow-query": "{ any; }",
            "allow-transfer": f"{{ key {self.key_name}; }}",
            "recursion": "no",
            "dnssec-validation": "no",
            # A NOTIFY to the NS names of test zones would go looking for their addresses on the Internet.
            "notify": "explicit",
        }
        given = {statement.split()[0] for statement in self._extra.split(";") if statement.split()}
        statements = "".join(f"    {name} {value};\n" for name, value in ours.items() if name not in given)
        key = f'key "{self.key_name}" {{ algorithm {self.algorithm}; secret "{self.key_secret}"; }};\n'
        for view, secret in self.view_secrets.items():
            key += f'key "{view}" {{ algorithm {ALGORITHM}; secret "{secret}"; }};\n'
        rndc_key = f'key "{self.rndc_key_name}" {{ algorithm {ALGORITHM}; secret "{self.rndc_secret}"; }};\n'
        (self.folder / "rndc.conf").write_text(
            f'{rndc_key}options {{ default-key "{self.rndc_key_name}"; '
            f"default-server {self.address}; default-port {self.rndc_port}; }};\n"
        )
        (self.folder / "named.conf").write_text(
            f"{key}{rndc_key}"
            f"controls {{ inet {self.address} port {self.rndc_port} allow {{ {self.address}; }} "
            f'keys {{ "{self.rndc_key_name}"; }}; }};\n'
            f"options {{\n{statements}    {self._extra}\n}};\n"
            f"{self._statements}\n{''.join(self._views())}"
        )

    def _views(self) -> Iterator[str]:
        for number, view in enumerate(self.view_secrets):
            clients = [f'key "{view}";']
            if number == 0:  # first, so it has to leave the others' queries to them
                others = [f'!key "{other}";' for other in self.view_secrets if other != view]
                clients = [*others, "any;"]
            yield f'view "{view}" {{ match-clients {{ {" ".join(clients)} }}; }};\n'

    def _command(self) -> tuple[list[str], dict[str, str]]:
        # -g: in the foreground, log to stderr. Own -c: nothing of /etc/bind is read.
        return [
            self._program("named"),
            *("-g", "-4", "-n", str(self.threads), "-c", str(self.folder / "named.conf")),
        ], {}

    def _answers(self) -> bool:
        # Any answer will do; without zones it is REFUSED.
        query = dns.message.make_query(".", "SOA")
        try:
            # TCP first: it refuses at once while nobody listens, UDP would wait.
            dns.query.tcp(query, self.address, timeout=0.5, port=self.port)
            dns.query.udp(query, self.address, timeout=0.5, port=self.port)
        except dns.exception.DNSException:
            return False
        socket.create_connection((self.address, self.rndc_port), timeout=0.5).close()
        # It answers REFUSED while it is still loading the zones it had: "running" comes after those.
        return self._has_logged_running()

    def _has_logged_running(self) -> bool:
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return text.rpartition("starting BIND")[2].find(" running\n") >= 0


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
