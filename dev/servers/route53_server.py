"""The process of the Route 53 stand-in: HTTP and XML, signatures, and misbehaviour when it is asked for.

`python -m dev.servers.route53_server config.json`. Tests set it up below `/_/`; the rest is the service.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dev.servers.route53_zones import Content, HostedZones, Refusal

NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"
ROUTES = (
    ("ChangeResourceRecordSets", "POST", r"/2013-04-01/hostedzone/([^/]+)/rrset/?"),
    ("ListResourceRecordSets", "GET", r"/2013-04-01/hostedzone/([^/]+)/rrset"),
    ("CreateHostedZone", "POST", r"/2013-04-01/hostedzone"),
    ("GetHostedZone", "GET", r"/2013-04-01/hostedzone/([^/]+)"),
    ("DeleteHostedZone", "DELETE", r"/2013-04-01/hostedzone/([^/]+)"),
    ("ListHostedZonesByName", "GET", r"/2013-04-01/hostedzonesbyname"),
    ("GetChange", "GET", r"/2013-04-01/change/([^/]+)"),
)
#: A request may be so old, or so new.
MAX_SKEW = timedelta(minutes=5)


class Service:
    """The account, its settings, and what has been asked of it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.zones = HostedZones(Path(config["database"]))
        self.secrets: dict[str, str] = config["secrets"]
        self.lock = threading.Lock()
        self.settings: dict[str, Any] = {
            "page_size": 300,
            "pending_s": 0.0,
            "per_second": 0,
            "clock_offset_s": 0,
        }
        self.faults: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.taken: list[float] = []

    def control(self, verb: str, body: Any) -> Any:
        """What tests ask: `set` settings, plan a `fault`, see `requests` (time, action, status)."""
        with self.lock:
            if verb == "set":
                self.settings.update(body)
                self.zones.page_size = self.settings["page_size"]
                self.zones.pending_s = self.settings["pending_s"]
            elif verb == "fault":
                self.faults = [*self.faults, body] if body else []
            return self.requests

    def fault(self, action: str) -> dict[str, Any]:
        """The first planned one that is for this action; it is used up by that."""
        for fault in self.faults:
            if fault["times"] > 0 and fault["action"] in ("", action):
                fault["times"] -= 1
                return fault
        return {}

    def throttle(self) -> None:
        """At most `per_second` requests in any one second."""
        limit, now = self.settings["per_second"], time.monotonic()
        self.taken = [at for at in self.taken if now - at < 1.0]
        if limit and len(self.taken) >= limit:
            raise Refusal(400, "Throttling", "Rate exceeded")
        self.taken.append(now)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.settings["clock_offset_s"])

    def authenticate(self, method: str, url: str, headers: Any, body: bytes) -> None:
        pattern = r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, SignedHeaders=(\S+), Signature=(\w+)"  # noqa: E501
        match = re.fullmatch(pattern, headers.get("Authorization", ""))
        if match is None:
            raise Refusal(403, "MissingAuthenticationToken", "Missing Authentication Token")
        key, region, service, signed, signature = match.groups()
        if key not in self.secrets:
            raise Refusal(
                403, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        request = AWSRequest(method, url, {name: headers[name] for name in signed.split(";")}, body)
        request.context["timestamp"] = sent = headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials(key, self.secrets[key]), service, region)
        wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if signature != wanted or (service, region) != ("route53", "us-east-1"):
            raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")  # fmt: skip  # noqa: E501
        at, now = datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC), self.now()
        if abs(now - at) > MAX_SKEW:
            word, sign = ("expired", "-") if at < now else ("not yet current", "+")
            bound, when = (
                now - MAX_SKEW if at < now else now + MAX_SKEW,
                "earlier" if at < now else "still later",
            )
            raise Refusal(403, "SignatureDoesNotMatch", f"Signature {word}: {sent} is now {when} than {bound:%Y%m%dT%H%M%SZ} ({now:%Y%m%dT%H%M%SZ} {sign} 5 min.)")  # fmt: skip  # noqa: E501

    def perform(self, action: str, id: str, query: dict[str, str], body: bytes) -> tuple[int, Content]:
        zones, limit = self.zones, int(query.get("maxitems", 300))
        request = _parsed(body) if body else []
        given = dict(request)
        if action == "CreateHostedZone":
            config = dict(given.get("HostedZoneConfig", []))
            created = zones.create(
                given["Name"], given["CallerReference"], config.get("Comment", ""), given.get("VPC")
            )
            return 201, created[1]
        if action == "ChangeResourceRecordSets":
            batch = [dict(each) for _, each in dict(given["ChangeBatch"])["Changes"]]
            return 200, zones.change(id, [(each["Action"], each["ResourceRecordSet"]) for each in batch])
        if action == "ListHostedZonesByName":
            return 200, zones.list_by_name(
                query.get("dnsname", ""), query.get("hostedzoneid", ""), min(limit, 100)
            )
        if action == "ListResourceRecordSets":
            start = [query.get(word, "") for word in ("name", "type", "identifier")]
            return 200, zones.list_rrsets(id, *start, limit)  # type: ignore[arg-type]
        if action == "GetChange":
            return 200, zones.change_info(id)
        return 200, zones.delete(id) if action == "DeleteHostedZone" else zones.get(id)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Service

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/_/"):
            found = self.service.control(self.path[3:], json.loads(body or "null"))
            return self._send(200, json.dumps(found).encode())
        with self.service.lock:
            action, status, answer, fault = self._answer(body)
            self.service.requests.append({"time": time.time(), "action": action, "status": status})
        return self._send(status, answer, fault.get("headers", {}), fault.get("reply", ""))

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _answer(self, body: bytes) -> tuple[str, int, bytes, dict[str, Any]]:
        url, fault = urlsplit(self.path), dict[str, Any]()
        action, id = _route(self.command, url.path)
        try:
            if not action:
                raise Refusal(404, "UnknownOperationException", f"no {self.command} {url.path}")
            self.service.authenticate(
                self.command, f"http://{self.headers['Host']}{self.path}", self.headers, body
            )
            self.service.throttle()
            fault = self.service.fault(action)
            if fault.get("status"):
                raise Refusal(fault["status"], fault["code"], fault["message"])
            query = {word: values[0] for word, values in parse_qs(url.query).items()}
            status, content = self.service.perform(action, id, query, body)
            return action, status, _rendered(f"{action}Response", content), fault
        except Refusal as exc:
            error = [("Type", "Sender"), ("Code", exc.code), ("Message", str(exc))]
            answer = _rendered("ErrorResponse", [("Error", error), ("RequestId", "0")])
            return action, exc.status, fault["body"].encode() if fault.get("body") else answer, fault

    def _send(
        self, status: int, answer: bytes, headers: dict[str, str] | None = None, reply: str = ""
    ) -> None:
        """`reply`: "" all; `lose` nothing, `cut` half of it; `hang` nothing, and the connection stays."""
        self.close_connection = bool(reply)
        if reply == "hang":
            threading.Event().wait(10)  # nobody sets it: it passes
        if reply in ("lose", "hang"):
            return
        self.send_response_only(status)
        now = formatdate(self.service.now().timestamp(), usegmt=True)
        for name, value in {"Date": now, "Content-Length": str(len(answer)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer[: len(answer) // 2] if reply == "cut" else answer)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted, not logged."""


def _route(method: str, path: str) -> tuple[str, str]:
    """The action and the id in the path."""
    for action, wanted, pattern in ROUTES:
        if method == wanted and (match := re.fullmatch(pattern, path)):
            return action, unquote(match[1]) if match.groups() else ""
    return "", ""


def _parsed(body: bytes) -> Content:
    def content(element: ElementTree.Element) -> Content:
        return [(child.tag.partition("}")[2], content(child)) for child in element] or (element.text or "")

    return content(ElementTree.fromstring(body))


def _rendered(tag: str, content: Content) -> bytes:
    def text(content: Content) -> str:
        if isinstance(content, str):
            return escape(content)
        return "".join(f"<{tag}>{text(inner)}</{tag}>" for tag, inner in content)

    return f'<?xml version="1.0"?>\n<{tag} xmlns="{NAMESPACE}">{text(content)}</{tag}>'.encode()


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    Handler.service = Service(config)
    server = ThreadingHTTPServer(("127.0.0.1", config["port"]), Handler)
    server.daemon_threads = True
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
