"""The octodns backend without a provider at the other end: options, capabilities, conversions, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.exceptions
import dns.exception
import pytest
import requests
from octodns.provider import ProviderException, SupportsException

from backends.octodns import BACKEND, convert
from backends.octodns.failures import Circumstances, as_backend_error
from backends.octodns.options import OctoDNSOptions
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
    Unsupported,
)
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.pools import Target, build_options, capabilities_of, load_pools
from dnsworker.records import RRset
from tests.octodns_providers import MEMORY

ROOT = Path(__file__).parents[2]
POWERDNS = "octodns_powerdns.PowerDnsProvider"
KEY = "an-api-key-that-nobody-may-see"
ZONE = Name("example.org.")
WWW = RRset("www.example.org.", "A", 60, ["192.0.2.1"])
MAIL = RRset("example.org.", "MX", 60, ["10 mx.example.net."])


def options(cls: str = POWERDNS, more: dict[str, Any] | None = None, **kwargs: Any) -> OctoDNSOptions:
    given = {"host": "192.0.2.53", "api_key": KEY} if cls == POWERDNS and not kwargs else {}
    target = Target(
        name="one", type="octodns", options={"class": cls, "kwargs": {**given, **kwargs}, **(more or {})}
    )
    built = build_options(target)
    assert isinstance(built, OctoDNSOptions)
    return built


# --- the class and its arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("octodns_nowhere.NowhereProvider", "octodns_nowhere is not installed: pip install octodns-nowhere"),
        ("octodns.provider.cloudflare.CloudflareProvider", "such as octodns_cloudflare.CloudflareProvider"),
        ("octodns_powerdns.PowerdnsProvider", "the module octodns_powerdns has no PowerdnsProvider"),
        ("PowerDnsProvider", "no path of a class"),
        ("octodns_powerdns.PowerDnsLuaRecord", "is no octoDNS provider"),
        ("tests.octodns_providers.ReadOnlySource", "is no octoDNS provider"),
        ("tests.octodns_providers.WritesNothing", "can't be written to"),
        ("octodns_bind.ZoneFileProvider", "use the zonefile backend"),
        ("octodns.provider.yaml.YamlProvider", "use the zonefile backend"),
    ],
)
def test_a_class_that_cant_be_a_target_is_refused_with_what_to_do(path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        options(path)
    assert "options.class" in caught.value.message


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"host": "h", "api_key": KEY, "hots": "x"}, "takes no 'hots'; it takes: .*api_key.* host"),
        ({"host": "h"}, "needs api_key"),
        ({"host": "h", "api_key": KEY, "apply_disabled": True}, "'apply_disabled' is set by dnsworker"),
        ({"host": "h", "api_key": KEY, "strict_supports": False}, "'strict_supports' is set by dnsworker"),
    ],
)
def test_arguments_that_the_class_doesnt_take_are_refused(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        options(**kwargs)
    assert KEY not in caught.value.message


def test_arguments_of_the_base_class_are_taken() -> None:
    options(host="h", api_key=KEY, update_pcent_threshold=0.5)
    options("octodns_bind.Rfc2136Provider", host="192.0.2.1", key_name="k", root_ns_warnings=False)


def test_pools_yaml_is_refused_with_its_line() -> None:
    text = (
        "- name: default\n  ns_records: [{hostname: ns1.example.net.}]\n  targets:\n"
        "    - type: octodns\n      options:\n        class: octodns_nowhere.NowhereProvider\n"
    )
    with pytest.raises(ConfigError, match=r":6: .*pip install octodns-nowhere"):
        load_pools(text, checks_options=True)


def test_capabilities_come_from_the_class_and_need_no_secret() -> None:
    target = Target(
        name="one", type="octodns",
        options={"class": POWERDNS, "kwargs": {"host": "h", "api_key": {"env": "NOT_SET_HERE"}}},
    )  # fmt: skip
    capabilities = capabilities_of(target)
    assert capabilities.types is not None
    assert {"A", "TXT", "URI"} <= capabilities.types
    assert capabilities.types.isdisjoint({"DNAME", "ALIAS", "PowerDnsProvider/LUA", "SOA"})
    assert capabilities.sets_serial
    assert capabilities.apex_ns
    assert (capabilities.atomic, capabilities.fencing) == ("message", "none")


def test_a_provider_that_nothing_is_known_of_is_taken_at_its_word() -> None:
    capabilities = BACKEND.capabilities_for(options(MEMORY, account="a", token="t"))
    assert capabilities.types == {"A", "AAAA", "CNAME", "MX", "NS", "PTR", "TXT"}
    assert not capabilities.apex_ns
    assert (capabilities.atomic, capabilities.max_batch) == ("rrset", 200)
    assert BACKEND.capabilities_for(options(MEMORY, {"max_batch": 7}, account="a", token="t")).max_batch == 7


def test_no_argument_shows_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    built = options(host="192.0.2.53", api_key={"env": "THE_KEY"})
    assert built.revealed()["api_key"] == KEY
    backend = BACKEND("one", built)
    for text in (repr(built), str(built), str(vars(backend)), str(vars(built)), built.model_dump_json()):
        assert KEY not in text


def test_everything_that_isnt_plainly_none_counts_as_a_secret() -> None:
    built = options(
        "octodns_route53.Route53Provider", access_key_id="AKIDEXAMPLE", secret_access_key="0123456789",
        session_token="abcdefgh", profile="production",
    )  # fmt: skip
    assert built.secrets() == ["0123456789", "abcdefgh"]


def test_without_octodns_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['octodns'] = None; from dnsworker.backend import load_backend\n"
        "try: load_backend('octodns')\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=60)
    assert said.startswith("ConfigError")
    assert "pip install 'dnsworker[octodns]'" in said


# --- conversions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("TXT", '"v=DKIM1; k=rsa; p=MIIB"'),
        ("TXT", '"say \\"hello\\""'),
        ("TXT", '""'),
        ("TXT", f'"{"x" * 255}" "{"y" * 100}"'),
        ("LOC", "52 22 23.000 S 4 53 32.000 W 2.00m"),
        ("CAA", '0 issue "ca.example.net; validationmethods=dns-01"'),
        ("MX", "0 ."),
        ("NAPTR", '9 9 "U" "E2U+sip" "!^(.*)$!sip:\\\\1@x!" .'),
    ],
)
def test_what_octodns_can_hold_comes_back_as_it_was(type_: str, data: str) -> None:
    rrset = RRset("name.example.org.", type_, 60, [data])
    assert convert.from_record(convert.to_record(convert.empty_zone(ZONE), rrset)) == rrset


@pytest.mark.parametrize(
    ("type_", "data", "words"),
    [
        ("TXT", '"two" "strings"', 'would make .*"twostrings" of'),
        ("TXT", '"\\255"', "can't hold"),
        ("NAPTR", '9 9 "u" "E2U+sip" "" .', 'would make .*"U"'),
        ("TYPE65280", "\\# 1 00", "Unknown record type"),
    ],
)
def test_what_octodns_would_change_is_refused_by_name(type_: str, data: str, words: str) -> None:
    rrset = RRset("name.example.org.", type_, 60, [data])
    with pytest.raises(RecordRejected, match=words) as caught:
        convert.to_record(convert.empty_zone(ZONE), rrset)
    assert caught.value.rrset == rrset.key


def test_what_a_provider_would_send_otherwise_is_refused_by_name() -> None:
    rrset = RRset("name.example.org.", "TXT", 60, ['"back\\\\slash"'])
    convert.raise_if_garbled(rrset, ['"back\\\\slash"'], "Provider")
    for spelled in ('"back\\slash"', '"back" "slash', '"other"'):
        with pytest.raises(RecordRejected, match="Provider would") as caught:
            convert.raise_if_garbled(rrset, [spelled], "Provider")
        assert caught.value.rrset == rrset.key


# --- errors ---------------------------------------------------------------------------------------------


def http_error(status: int, text: str = "", **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response._content = text.encode()
    response.headers.update(headers)
    return requests.HTTPError(f"{status} from the server", response=response)


def aws_error(code: str, status: int = 400) -> botocore.exceptions.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "ChangeResourceRecordSets")


class CloudRateLimitError(ProviderException):
    pass


class SdkError(Exception):
    """As Azure's: the status is an attribute."""

    status_code = 403


WRITE = Circumstances(is_write=True, may_have_written=True, changes=(RRsetChange(None, WWW),))
READ = Circumstances(is_write=False, may_have_written=False)


@pytest.mark.parametrize(
    ("exc", "writing", "reading"),
    [
        (http_error(401), AuthenticationFailed, AuthenticationFailed),
        (http_error(403), AuthenticationFailed, AuthenticationFailed),
        (http_error(404), ServerFailure, ServerFailure),
        (http_error(422), RecordRejected, ServerFailure),
        (http_error(429), RateLimited, RateLimited),
        (http_error(500), ServerFailure, ServerFailure),
        (http_error(503), Busy, Busy),
        (http_error(504), OutcomeUnknown, Busy),
        (requests.ReadTimeout("no answer"), OutcomeUnknown, Unreachable),
        (requests.ConnectTimeout("no way"), OutcomeUnknown, Unreachable),
        (requests.exceptions.ChunkedEncodingError("cut"), OutcomeUnknown, Unreachable),
        (ConnectionRefusedError(111, "refused"), Unreachable, Unreachable),
        (ConnectionResetError(104, "reset"), OutcomeUnknown, Unreachable),
        (EOFError("EOF"), OutcomeUnknown, Unreachable),
        (dns.exception.Timeout(), OutcomeUnknown, Unreachable),
        (aws_error("Throttling"), RateLimited, RateLimited),
        (aws_error("PriorRequestNotComplete"), Busy, Busy),
        (aws_error("AccessDenied", 403), AuthenticationFailed, AuthenticationFailed),
        (aws_error("InvalidChangeBatch"), RecordRejected, ServerFailure),
        (aws_error("InternalError", 500), ServerFailure, ServerFailure),
        (botocore.exceptions.NoCredentialsError(), AuthenticationFailed, AuthenticationFailed),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), OutcomeUnknown, Unreachable),
        (SupportsException("no root NS"), Unsupported, Unsupported),
        (CloudRateLimitError("slow down"), RateLimited, RateLimited),
        (SdkError("denied"), AuthenticationFailed, AuthenticationFailed),
        (KeyError("zone"), ServerFailure, ServerFailure),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value)[:40],
)
def test_each_error_has_its_class(
    exc: Exception, writing: type[BackendError], reading: type[BackendError]
) -> None:
    assert type(as_backend_error(exc, WRITE)) is writing
    assert type(as_backend_error(exc, READ)) is reading


def test_an_error_within_an_error_is_found() -> None:
    """octodns-powerdns makes a plain Exception of a 401, within the handling of `requests`' own."""
    outer = RuntimeError("unauthorized")
    outer.__context__ = http_error(401)
    assert isinstance(as_backend_error(outer, READ), AuthenticationFailed)


def test_retry_after_is_passed_on() -> None:
    error = as_backend_error(http_error(429, **{"Retry-After": "17"}), WRITE)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 17


def test_an_error_that_nobody_knows_tells_its_class_and_first_line() -> None:
    assert str(as_backend_error(RuntimeError("first\nsecond"), READ)) == "RuntimeError: first"


def test_a_refusal_names_the_record_where_it_can_be_told() -> None:
    both = (RRsetChange(None, WWW), RRsetChange(None, MAIL))
    refusals = {
        "Record www.example.org/A is bad": WWW.key,
        "www.example.org. IN A: no": WWW.key,
        "MX at example.org. is bad": MAIL.key,
        "something is bad": None,
    }
    for text, key in refusals.items():
        error = as_backend_error(http_error(422, text), Circumstances(True, True, both))
        assert isinstance(error, RecordRejected)
        assert error.rrset == key, text
