"""A stand-in for Amazon Route 53: a real HTTP server, as strict as the service, that can be told to fail."""

from __future__ import annotations

import json
import secrets
import sys
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

from dev.servers.server import Server

ROOT = Path(__file__).parents[2]


class Route53(Server):
    """Starts without zones; keeps them, but not its settings and faults, over restarts."""

    package: ClassVar[str] = "(nothing: it is part of this repository)"

    port: int

    def __init__(self) -> None:
        self.access_key_id = f"AKIA{secrets.token_hex(8).upper()}"
        self.secret_access_key = secrets.token_urlsafe(30)
        super().__init__()

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def target_options(self) -> dict[str, Any]:
        """`options` of a `type: route53` target in pools.yaml."""
        return {
            "endpoint_url": self.endpoint_url,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }

    def client(self, **options: Any) -> Any:
        """boto3's own client, for what an administrator does by hand; `options` replace what it is given."""
        import boto3.session
        from botocore.config import Config

        given = {
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "region_name": "us-east-1",
            "config": Config(retries={"total_max_attempts": 1}),
        }
        return boto3.session.Session().client("route53", **{**given, **options})

    def set(self, **settings: float) -> None:
        """`page_size`; `pending_s` until INSYNC; `clock_offset_s`; `per_second`: more are throttled."""
        self._control("set", settings)

    def fail(
        self,
        status: int = 0,
        code: str = "",
        message: str = "",
        *,
        action: str = "",
        times: int = 1,
        reply: str = "",
        headers: dict[str, str] | None = None,
        body: str = "",
    ) -> None:
        """Plan a fault for the next `times` requests (with `action`: of that kind).

        With a `status` nothing is carried out. `reply` is how the answer is lost: `lose`, `cut` or `hang`.
        """
        self._control("fault", {
            "status": status, "code": code, "message": message, "action": action, "times": times,
            "reply": reply, "headers": headers or {}, "body": body,
        })  # fmt: skip

    def behave(self) -> None:
        """No faults, settings as at the start."""
        self._control("fault", None)
        self.set(page_size=300, pending_s=0.0, per_second=0, clock_offset_s=0)

    def requests(self, action: str = "") -> list[dict[str, Any]]:
        """All since the start: `time` (Unix), `action`, `status`."""
        found: list[dict[str, Any]] = self._control("requests", None)
        return [each for each in found if action in ("", each["action"])]

    def _control(self, verb: str, body: Any) -> Any:
        request = urllib.request.Request(f"{self.endpoint_url}/_/{verb}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        (self.folder / "config.json").write_text(json.dumps({
            "port": self.port,
            "database": str(self.folder / "zones.sqlite"),
            "secrets": {self.access_key_id: self.secret_access_key},
        }))  # fmt: skip

    def _command(self) -> tuple[list[str], dict[str, str]]:
        program = [sys.executable, "-m", "dev.servers.route53_server", str(self.folder / "config.json")]
        return program, {"PYTHONPATH": str(ROOT)}

    def _answers(self) -> bool:
        return self._control("requests", None) is not None
