"""The route53 backend where Route 53, the way to it or our credentials fail: each as what it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.route53 import BACKEND
from dev.servers import Route53
from dev.servers.process import wait_until
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
    Transient,
    Unreachable,
    Unsupported,
    ZoneChanged,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset

SOA_1 = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)

_numbers = itertools.count(1)


@pytest.fixture
def new_backend(route53: Route53) -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def new(**options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**route53.target_options(), **options})
        made.append(BACKEND("test", model, timeout_s=5.0))
        return made[-1]

    yield new
    for backend in made:
        backend.close()
    route53.behave()


@pytest.fixture
def backend(new_backend: Callable[..., Backend]) -> Backend:
    return new_backend()


@pytest.fixture
def zone(backend: Backend) -> ZoneContents:
    name = Name(f"f{next(_numbers)}.example.org.")
    zone = ZoneContents.of(name, SOA_1, [])
    backend.create_zone(zone)
    return zone


def plan(zone: ZoneContents) -> Plan:
    www = RRset(f"www.{zone.name}", "A", 60, ["192.0.2.1"])
    return make_plan(zone.name, SOA_1, SOA_1.with_serial(2), [RRsetChange(None, www)])


EVERYWHERE: list[tuple[int, str, str, type[BackendError]]] = [
    (400, "Throttling", "Rate exceeded", RateLimited),
    (400, "ThrottlingException", "Rate exceeded", RateLimited),
    (429, "TooManyRequests", "", RateLimited),
    (400, "PriorRequestNotComplete", "still processing a prior request", Busy),
    (403, "AccessDenied", "not authorized to perform: route53:…", AuthenticationFailed),
    (403, "InvalidClientTokenId", "The security token … is invalid.", AuthenticationFailed),
    (403, "SignatureDoesNotMatch", "Check your AWS Secret Access Key", AuthenticationFailed),
    (400, "ExpiredToken", "The security token … is expired", AuthenticationFailed),
    (403, "SomethingNew", "", AuthenticationFailed),
    (500, "InternalFailure", "", Busy),
    (503, "ServiceUnavailable", "", Busy),
    (404, "SomethingNew", "", ServerFailure),
    (400, "SomethingNew", "", ServerFailure),
    (405, "MethodNotAllowed", "", ServerFailure),
]
WRITES: list[tuple[int, str, str, type[BackendError]]] = [
    *EVERYWHERE,
    (400, "InvalidChangeBatch", "[RRSet of type A with DNS name www… is not permitted]", RecordRejected),
    (400, "InvalidInput", "Invalid XML", RecordRejected),
    (502, "BadGateway", "", OutcomeUnknown),
    (504, "GatewayTimeout", "", OutcomeUnknown),
]
CREATIONS: list[tuple[int, str, str, type[BackendError]]] = [
    (400, "InvalidDomainName", "x", Unsupported),
    (409, "ConflictingDomainExists", "x", Unsupported),
    (400, "DelegationSetNotAvailable", "x", Unsupported),
    (400, "TooManyHostedZones", "x", Unsupported),
]


@pytest.mark.parametrize(("status", "code", "message", "error"), EVERYWHERE)
def test_a_read_is_never_absent_unless_route_53_says_so(
    route53: Route53,
    new_backend: Callable[..., Backend],
    zone: ZoneContents,
    status: int,
    code: str,
    message: str,
    error: type[BackendError],
) -> None:
    route53.fail(status, code, message, times=4)
    for read in (
        lambda backend: backend.read_zone(zone.name),
        lambda backend: backend.read_soa(zone.name),
        lambda backend: backend.read_rrsets(zone.name, [(zone.name, "NS")]),
    ):
        with pytest.raises(error, match=code) as caught:
            read(new_backend())
        assert caught.value.code == error.__name__
    assert not new_backend().check().ok


@pytest.mark.parametrize(("status", "code", "message", "error"), WRITES)
def test_a_write_fails_as_what_it_is(
    route53: Route53,
    backend: Backend,
    zone: ZoneContents,
    status: int,
    code: str,
    message: str,
    error: type[BackendError],
) -> None:
    route53.fail(status, code, message, action="ChangeResourceRecordSets")
    with pytest.raises(error) as caught:
        backend.apply(plan(zone))
    assert caught.value.code == error.__name__
    if code in ("InvalidChangeBatch", "InvalidInput"):
        assert getattr(caught.value, "rrset", None) == (f"www.{zone.name}", "A")
    backend.apply(plan(zone))


@pytest.mark.parametrize(("status", "code", "message", "error"), CREATIONS)
def test_a_creation_that_route_53_wont_have_says_why(
    route53: Route53, backend: Backend, status: int, code: str, message: str, error: type[BackendError]
) -> None:
    name = Name(f"f{next(_numbers)}.example.org.")
    route53.fail(status, code, message, action="CreateHostedZone")
    with pytest.raises(error, match=code):
        backend.create_zone(ZoneContents.of(name, SOA_1, []))
    assert backend.read_zone(name) is None


def test_throttled_twice_then_fine(route53: Route53, backend: Backend, zone: ZoneContents) -> None:
    """Each time it is told, and nothing is tried again behind the delivery's back."""
    route53.fail(400, "Throttling", "Rate exceeded", times=2)
    before = len(route53.requests())
    for _ in range(2):
        with pytest.raises(RateLimited, match="Rate exceeded"):
            backend.apply(plan(zone))
    assert len(route53.requests()) - before == 2
    backend.apply(plan(zone))
    assert backend.read_rrsets(zone.name, [(Name(f"www.{zone.name}"), "A")])


def test_how_long_to_wait_is_passed_on(route53: Route53, backend: Backend, zone: ZoneContents) -> None:
    for headers, seconds in (({"Retry-After": "17"}, 17.0), ({}, None), ({"Retry-After": "soon"}, None)):
        route53.fail(429, "TooManyRequests", "slow down", headers=headers)
        with pytest.raises(RateLimited) as caught:
            backend.apply(plan(zone))
        assert caught.value.retry_after_s == seconds


def test_a_rate_that_is_exceeded_is_throttled(route53: Route53, backend: Backend, zone: ZoneContents) -> None:
    route53.set(per_second=1)
    before = len(route53.requests())

    def ask() -> bool:
        try:
            return backend.read_soa(zone.name) is None
        except RateLimited:
            return True

    wait_until(ask, 30, "a second with two requests")
    assert route53.requests()[before:][-1]["status"] == 400
    wait_until(lambda: not ask(), 30, "a second without requests")


@pytest.mark.parametrize("reply", ["lose", "cut"])
def test_a_write_without_a_whole_answer_may_have_been_done(
    route53: Route53, backend: Backend, zone: ZoneContents, reply: str
) -> None:
    route53.fail(action="ChangeResourceRecordSets", reply=reply)
    with pytest.raises(OutcomeUnknown):
        backend.apply(plan(zone))
    assert backend.read_rrsets(zone.name, [(Name(f"www.{zone.name}"), "A")]), "and here it was"
    backend.apply(plan(zone))


def test_an_answer_that_doesnt_come_in_time_is_not_waited_for(
    route53: Route53, new_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = new_backend(read_timeout_s=1.0)
    backend.read_soa(zone.name)
    route53.fail(action="ChangeResourceRecordSets", reply="hang")
    with pytest.raises(OutcomeUnknown, match="timeout"):
        backend.apply(plan(zone))
    route53.fail(action="ListResourceRecordSets", reply="hang")
    with pytest.raises(Unreachable, match="timeout"):
        backend.read_zone(zone.name)


@pytest.mark.parametrize("reply", ["lose", "cut"])
def test_a_read_without_a_whole_answer_is_no_read(
    route53: Route53, backend: Backend, zone: ZoneContents, reply: str
) -> None:
    route53.fail(action="ListResourceRecordSets", reply=reply)
    with pytest.raises((Unreachable, ServerFailure)):
        backend.read_zone(zone.name)


@pytest.mark.parametrize("body", ["<html><body>Welcome</body></html>", "<html>Welcome", "", "{}"])
def test_an_answer_that_isnt_route_53s_is_no_empty_zone(
    route53: Route53, new_backend: Callable[..., Backend], zone: ZoneContents, body: str
) -> None:
    """A 200 of a proxy or a captive portal."""
    for action in ("ListHostedZonesByName", "ListResourceRecordSets"):
        route53.fail(200, "", "", action=action, body=body or " ")
        with pytest.raises((ServerFailure, Unreachable)):
            new_backend().read_zone(zone.name)
    route53.fail(200, "", "", action="ChangeResourceRecordSets", body=body or " ")
    with pytest.raises(OutcomeUnknown):
        new_backend().apply(plan(zone))


@pytest.mark.parametrize("body", ["<html><body>Bad Gateway</body></html>", "Bad Gateway"])
def test_a_proxys_error_is_transient(
    route53: Route53, backend: Backend, zone: ZoneContents, body: str
) -> None:
    route53.fail(502, "", "", body=body)
    with pytest.raises(Transient):
        backend.read_zone(zone.name)


@pytest.mark.parametrize(("offset_s", "words"), [(600, "behind"), (-600, "ahead of")])
def test_a_wrong_clock_is_not_taken_for_a_wrong_secret(
    route53: Route53, backend: Backend, zone: ZoneContents, offset_s: float, words: str
) -> None:
    route53.set(clock_offset_s=offset_s)
    with pytest.raises(
        AuthenticationFailed, match=rf"this machine's clock is (599|60\d) s {words} Route 53's"
    ):
        backend.read_zone(zone.name)
    health = backend.check()
    assert not health.ok
    assert f"{words} Route 53's" in health.message


def test_a_clock_that_goes_wrong_is_said_before_it_is_too_late(route53: Route53, backend: Backend) -> None:
    assert "clock" not in backend.check().message
    route53.set(clock_offset_s=100)
    health = backend.check()
    assert health.ok
    assert "s behind it" in health.message


def test_a_wrong_secret_and_an_unknown_key_are_said(new_backend: Callable[..., Backend]) -> None:
    wrong = new_backend(secret_access_key="not-the-secret").check()
    assert "SignatureDoesNotMatch" in wrong.message
    assert "clock" not in wrong.message
    assert "InvalidClientTokenId" in new_backend(access_key_id="AKIAUNKNOWN").check().message


def test_no_credentials_at_all_are_said(
    route53: Route53, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    backend = BACKEND("test", BACKEND.options_model(endpoint_url=route53.endpoint_url))
    with pytest.raises(AuthenticationFailed, match="no AWS credentials"):
        backend.read_zone(Name("example.org."))
    backend.close()
    with pytest.raises(ConfigError, match="nobody"):
        BACKEND("test", BACKEND.options_model(endpoint_url=route53.endpoint_url, profile="nobody"))


def test_a_profile_and_a_session_token_are_used(
    route53: Route53, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, new_backend: Callable[..., Backend]
) -> None:
    key, secret = route53.access_key_id, route53.secret_access_key
    (tmp_path / "credentials").write_text(
        f"[dns]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    profile = BACKEND("test", BACKEND.options_model(endpoint_url=route53.endpoint_url, profile="dns"))
    assert profile.check().ok
    profile.close()
    assert new_backend(session_token="temporary").check().ok


def test_nobody_listening_is_unreachable() -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "access_key_id": "AKIA", "secret_access_key": "x"}
    backend = BACKEND("test", BACKEND.options_model.model_validate(options), timeout_s=1.0)
    with pytest.raises(Unreachable, match="no connection to Route 53"):
        backend.delete_zone(Name("example.org."))
    backend.close()


def test_a_zone_that_is_filled_while_it_is_deleted_is_looked_at_again(
    route53: Route53, backend: Backend, zone: ZoneContents
) -> None:
    route53.fail(400, "HostedZoneNotEmpty", "contains records", action="DeleteHostedZone")
    with pytest.raises(ZoneChanged):
        backend.delete_zone(zone.name)
    backend.delete_zone(zone.name)
    assert backend.read_zone(zone.name) is None
