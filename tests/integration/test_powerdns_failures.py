"""The PowerDNS backend against servers that fail: each status, and answers that are cut or late."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends.powerdns import BACKEND
from dev.servers import PowerDNS
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Busy,
    ConfigError,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unreachable,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset
from tests.certificates import self_signed

ZONE = Name("example.org.")
SOA_1 = SOA(Name("ns.example.org."), Name("host.example.org."), 1)
PLAN: Plan = make_plan(
    ZONE, SOA_1, SOA_1.with_serial(2), [RRsetChange(None, RRset("www.example.org.", "A", 60, ["192.0.2.1"]))]
)
ZONE_JSON = {
    "kind": "Native",
    "serial": 1,
    "edited_serial": 1,
    "soa_edit": "",
    "soa_edit_api": "",
    "api_rectify": False,
    "dnssec": False,
    "rrsets": [
        {
            "name": ZONE,
            "type": "SOA",
            "ttl": 3600,
            "records": [{"content": SOA_1.rdata, "disabled": False}],
        }
    ],
}


class StubApi:
    """Answers each method as the test says: (status, headers, body), or a function of the handler."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"GET": (200, {}, json.dumps(ZONE_JSON).encode())}
        self.seen: list[str] = []
        self.released = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.seen.append(f"{self.command} {self.path}")
                answer = stub.answers[self.command]
                if callable(answer):
                    answer(self)
                    return
                status, headers, body = answer
                self.send_response(status)
                for header, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            def __getattr__(self, name: str) -> object:
                """Every do_GET, do_PATCH, …"""
                if name.startswith("do_"):
                    return self._answer
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:
                """Not into the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def use_tls(self, context: ssl.SSLContext) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stub() -> Iterator[StubApi]:
    stub = StubApi()
    yield stub
    stub.close()


@pytest.fixture
def backend(stub: StubApi) -> Iterator[Backend]:
    backend = _backend(stub.url)
    yield backend
    backend.close()


@pytest.fixture
def hasty(stub: StubApi) -> Iterator[Backend]:
    """For servers that don't answer, or not to the end. Of others a busy machine would make the same."""
    backend = _backend(stub.url, timeout_s=0.5)
    yield backend
    backend.close()


def _backend(api_url: str, *, timeout_s: float = 30.0, **options: object) -> Backend:
    values = {"api_url": api_url, "api_key": "the-secret", "bulk_timeout_s": timeout_s, **options}
    return BACKEND("test", BACKEND.options_model.model_validate(values), timeout_s=timeout_s)


STATUSES = [
    (301, {"Location": "/elsewhere"}, b"", ServerFailure),
    (400, {}, b"Bad Request", ServerFailure),
    (401, {}, b"Unauthorized", AuthenticationFailed),
    (403, {}, b"Forbidden", AuthenticationFailed),
    (404, {}, b"Not Found", ServerFailure),
    (418, {}, b"", ServerFailure),
    (429, {"Retry-After": "17"}, b"slow down", RateLimited),
    (500, {}, b'{"error": "Could not start transaction: database is locked"}', Busy),
    (500, {}, b"Internal Server Error", Busy),
    (501, {}, b"", ServerFailure),
    (502, {}, b"<html>Bad Gateway</html>", Busy),
    (503, {}, b"", Busy),
    (504, {}, b"", Busy),
    (200, {}, b"<html>Welcome</html>", ServerFailure),
    (200, {}, b"[]", ServerFailure),
    (204, {}, b"", ServerFailure),
]


@pytest.mark.parametrize(("status", "headers", "body", "error"), STATUSES)
def test_a_read_is_never_absent_unless_the_server_says_so(
    stub: StubApi,
    backend: Backend,
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[BackendError],
) -> None:
    stub.answers["GET"] = (status, headers, body)
    for read in (backend.read_zone, backend.read_soa, lambda zone: backend.read_rrsets(zone, [(ZONE, "NS")])):
        with pytest.raises(error) as caught:
            read(ZONE)
        assert caught.value.code == error.__name__
        assert "the-secret" not in str(caught.value)
    assert not backend.check().ok


WRITES = [
    *(row for row in STATUSES if row[0] not in (200, 204, 400, 502, 504)),
    (400, {}, b"Bad Request", RecordRejected),
    (413, {}, b"", RecordRejected),
    (422, {}, b'{"error": "RRset www.example.org. IN A: Conflicts"}', RecordRejected),
    (422, {}, b'{"error": "Failed to rectify zone"}', ServerFailure),
    (502, {}, b"", OutcomeUnknown),
    (504, {}, b"", OutcomeUnknown),
]


@pytest.mark.parametrize(("status", "headers", "body", "error"), WRITES)
def test_a_write_fails_as_what_it_is(
    stub: StubApi,
    backend: Backend,
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[BackendError],
) -> None:
    for method in ("PATCH", "DELETE"):
        stub.answers[method] = (status, headers, body)
    with pytest.raises(error) as caught:
        backend.apply(PLAN)
    assert caught.value.code == error.__name__
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_s == 17
    if status not in (400, 413, 422):
        with pytest.raises(error):
            backend.delete_zone(ZONE)


def test_the_time_of_a_date_in_retry_after_counts(stub: StubApi, backend: Backend) -> None:
    stub.answers["GET"] = (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")
    with pytest.raises(RateLimited) as caught:
        backend.read_soa(ZONE)
    assert caught.value.retry_after_s == 0


def test_a_refusal_names_the_record(stub: StubApi, backend: Backend) -> None:
    for words in (
        "RRset www.example.org. IN A: Conflicts with pre-existing RRset",
        "RRset www.example.org. IN A has more than one record",
        "Record www.example.org./A '192.0.2.1': Not in expected format",
        'Duplicate record in RRset www.example.org. IN A with content "x"',
        "Name 'www.example.org.' contains unsupported characters",
    ):
        stub.answers["PATCH"] = (422, {}, json.dumps({"error": words}).encode())
        with pytest.raises(RecordRejected) as caught:
            backend.apply(PLAN)
        assert caught.value.rrset == ("www.example.org.", "A")
    stub.answers["PATCH"] = (422, {}, b'{"error": "Something else"}')
    with pytest.raises(RecordRejected) as caught:
        backend.apply(PLAN)
    assert caught.value.rrset is None


def test_a_server_that_takes_the_request_and_says_nothing(stub: StubApi, hasty: Backend) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        stub.released.wait(60)
        handler.close_connection = True

    stub.answers["PATCH"] = hang
    with pytest.raises(OutcomeUnknown):
        hasty.apply(PLAN)
    stub.answers["GET"] = hang
    with pytest.raises(Unreachable):
        hasty.read_zone(ZONE)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_an_answer_that_is_cut_in_the_middle(stub: StubApi, backend: Backend, method: str) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"rrsets": [')
        handler.close_connection = True

    stub.answers[method] = cut
    if method == "PATCH":
        with pytest.raises(OutcomeUnknown):
            backend.apply(PLAN)
    else:
        with pytest.raises(Unreachable):
            backend.read_zone(ZONE)


def test_an_answer_in_drops_ends_at_the_deadline(stub: StubApi, hasty: Backend) -> None:
    """Each drop comes in time; the whole doesn't."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        handler.close_connection = True
        while not stub.released.wait(0.05):
            handler.wfile.write(b" ")

    stub.answers["GET"] = drip
    with pytest.raises(Unreachable, match="no complete answer"):
        hasty.read_zone(ZONE)


def test_a_body_larger_than_the_server_takes_is_a_refusal(stub: StubApi, backend: Backend) -> None:
    """PowerDNS closes while we still send: the write breaks, or its 400 is read."""
    with PowerDNS(webserver_max_bodysize="1") as server:
        model = BACKEND.options_model.model_validate(server.target_options())
        real = BACKEND("test", model)
        zone = ZoneContents.of(ZONE, SOA_1, [RRset(ZONE, "NS", 60, ["ns.example.net."])])
        real.create_zone(zone)
        many = [RRset.trusted(Name(f"h{n}.{ZONE}"), "A", 60, ("192.0.2.1",)) for n in range(20_000)]
        plan = make_plan(ZONE, SOA_1, SOA_1.with_serial(2), [RRsetChange(None, each) for each in many])
        with pytest.raises((RecordRejected, OutcomeUnknown)):
            real.apply(plan)
        assert real.read_zone(ZONE) == zone
        real.close()


def test_a_frozen_server(powerdns: PowerDNS) -> None:
    """SIGSTOP: the kernel still takes connections and requests, nobody reads them."""
    options = powerdns.target_options()
    hasty = _backend(**options, timeout_s=0.5)
    powerdns.pause()
    try:
        with pytest.raises(Unreachable):
            hasty.read_soa(ZONE)
        with pytest.raises(OutcomeUnknown):
            hasty.delete_zone(ZONE)
        assert not hasty.check().ok
    finally:
        powerdns.cont()
    patient = _backend(**options)
    assert patient.check().ok
    patient.close()
    hasty.close()


def test_nobody_listens() -> None:
    backend = _backend("http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        backend.read_soa(ZONE)
    with pytest.raises(Unreachable):
        backend.delete_zone(ZONE)
    backend.close()


def test_certificates_are_checked(stub: StubApi, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    stub.use_tls(context)
    for options, trusts in (({}, False), ({"ca_file": certificate}, True), ({"verify_tls": False}, True)):
        backend = _backend(stub.url.replace("http:", "https:"), **options)
        if trusts:
            assert backend.read_soa(ZONE) == SOA_1
        else:
            with pytest.raises(Unreachable, match="certificate"):
                backend.read_soa(ZONE)
        backend.close()
    with pytest.raises(ConfigError, match="ca_file"):
        _backend(stub.url, ca_file=tmp_path / "absent.pem")


@pytest.mark.parametrize(
    "options",
    [
        {"api_url": "ftp://x"},
        {"api_url": "http://user:password@host"},
        {"api_url": "http://host", "server_id": "a/b"},
        {"api_url": "http://host", "colour": "blue"},
        {"api_url": "http://host", "kind": "Slave"},
    ],
)
def test_options_that_cant_work_are_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"api_url|server_id|colour|kind"):
        BACKEND.options_model.model_validate({"api_key": "x", **options})


def test_the_key_is_in_no_repr() -> None:
    options = BACKEND.options_model.model_validate({"api_url": "http://h:1/api/v1/", "api_key": "the-secret"})
    assert "the-secret" not in repr(options) + str(options) + str(options.model_dump())
    assert options.model_dump()["api_url"] == "http://h:1"
