"""What a provider raised, as one of our errors.

Providers speak over `requests`, botocore, dnspython or a client of their own, and wrap what these raise in
errors of theirs. So the whole chain of causes is looked through for something that is known, by name: none
of the clients need be installed. What isn't known is a `ServerFailure` with its class and its first line.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.rcode
import dns.tsig
from octodns.provider import SupportsException
from octodns.record.exception import RecordException
from octodns.zone.exception import ZoneException

from backends.http_headers import retry_after_s
from backends.octodns.convert import first_line
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Busy,
    OutcomeUnknown,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.plan import RRsetChange
from dnsworker.records import Key

_WORDS = 300  # characters of a provider's words that go into an error

#: Classes, ours aside, of which nothing was sent when they are raised.
_NOT_CONNECTED = frozenset(
    {
        "requests.exceptions.ConnectTimeout", "requests.exceptions.SSLError",
        "requests.exceptions.ProxyError",
        "urllib3.exceptions.NewConnectionError", "urllib3.exceptions.ConnectTimeoutError",
        "botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ProxyConnectionError", "botocore.exceptions.SSLError",
    }
)  # fmt: skip
#: … and of which nobody knows.
_NO_ANSWER = frozenset(
    {
        "requests.exceptions.RequestException", "urllib3.exceptions.HTTPError",
        "botocore.exceptions.HTTPClientError", "http.client.HTTPException",
    }
)  # fmt: skip
_NO_CREDENTIALS = frozenset(
    {
        "botocore.exceptions.NoCredentialsError", "botocore.exceptions.PartialCredentialsError",
        "botocore.exceptions.ProfileNotFound", "botocore.exceptions.CredentialRetrievalError",
        "botocore.exceptions.NoRegionError",
    }
)  # fmt: skip
#: AWS: a throttled request is a 400.
_AWS_THROTTLED = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"})
_AWS_BUSY = frozenset({"PriorRequestNotComplete", "ServiceUnavailable", "ConcurrentModification"})
_AWS_DENIED = re.compile(
    r"AccessDenied|Unauthorized|InvalidClientTokenId|SignatureDoesNotMatch|ExpiredToken|AuthFailure|"
    r"UnrecognizedClient|MissingAuthenticationToken|InvalidAccessKeyId|RequestExpired"
)
#: How providers name errors of their own.
_DENIED_NAME = re.compile(r"Unauthori[sz]ed|Authentication|Forbidden|AccessDenied", re.IGNORECASE)
_LIMITED_NAME = re.compile(r"RateLimit|Throttl|TooManyRequests", re.IGNORECASE)
_REFUSED_NAME = re.compile(r"BadRequest|Unprocessable|InvalidRequest", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was being done when the provider raised."""

    #: Records are being sent, so a refusal may be about one of them.
    is_write: bool
    #: Something may have been changed by now.
    may_have_written: bool
    changes: tuple[RRsetChange, ...] = ()
    busy_statuses: frozenset[int] = frozenset({503})


def as_backend_error(exc: BaseException, circumstances: Circumstances) -> BackendError:
    """The error of ours that a provider's error is."""
    chain = list(_chain(exc))
    for each in chain:
        for known in (_of_http, _of_aws, _of_dns, _of_octodns, _of_network):
            if error := known(each, circumstances):
                return error
    for each in chain:
        if error := _by_name(each, circumstances):
            return error
    return ServerFailure(_said(exc))


def _of_http(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    """By the status: of `requests`, or as other clients give it."""
    response = getattr(exc, "response", None)
    status = getattr(response, "status_code", None) or getattr(exc, "status_code", None)
    if not isinstance(status, int):
        return None
    text = getattr(response, "text", "")
    words = " ".join(str(text).split())[:_WORDS] or first_line(exc)
    said = f"the provider answered {status}: {words}"
    headers = getattr(response, "headers", None) or {}
    return _by_status(status, said, headers.get("Retry-After"), circumstances)


def _by_status(
    status: int, said: str, retry_after: str | None, circumstances: Circumstances
) -> BackendError | None:
    if status in (401, 403):
        return AuthenticationFailed(f"{said}; compare the credentials in `kwargs`, and what they allow")
    if status == 429:
        return RateLimited(said, retry_after_s=retry_after_s(retry_after))
    if status in (400, 409, 413, 422) and circumstances.is_write:
        return _refused(said, circumstances)
    if status in (408, 502, 504) and circumstances.may_have_written:
        return OutcomeUnknown(said)  # somebody in between gave up waiting: the provider may go on
    if status in circumstances.busy_statuses or status in (408, 502, 504):
        return Busy(said)
    return ServerFailure(said) if status >= 400 else None


def _of_aws(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    if not _is(exc, {"botocore.exceptions.ClientError"}):
        return None
    response: Any = exc.response  # type: ignore[attr-defined]
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"AWS says {code}: {response.get('Error', {}).get('Message', '')}"[:_WORDS]
    if code in _AWS_THROTTLED:
        return RateLimited(said)
    if code in _AWS_BUSY:
        return Busy(said)
    if _AWS_DENIED.search(code):
        return AuthenticationFailed(said)
    if code == "NoSuchHostedZone":
        return ZoneMissing(said)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return _by_status(status, said, None, circumstances)


def _of_dns(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    tsig = (
        dns.tsig.PeerError,
        dns.tsig.BadTime,
        dns.tsig.BadSignature,
        dns.tsig.BadKey,
        dns.tsig.BadAlgorithm,
    )
    if isinstance(exc, tsig):
        return AuthenticationFailed(f"the TSIG key or the clock doesn't fit: {type(exc).__name__}")
    if isinstance(exc, dns.exception.Timeout):
        return _no_answer(_said(exc), circumstances)
    rcode = getattr(exc, "rcode", None)
    if isinstance(rcode, int):
        return _by_rcode(rcode, _said(exc), circumstances)
    # octodns-bind tells the rcode of an update in its words only.
    if match := re.match(r"Unable to perform update: ([A-Z]+)$", str(exc)):
        return _by_rcode(dns.rcode.from_text(match[1]), _said(exc), circumstances)
    if isinstance(exc, dns.exception.TooBig):
        return _refused("the change doesn't fit into one DNS message", circumstances)
    return None


def _by_rcode(rcode: int, said: str, circumstances: Circumstances) -> BackendError:
    if rcode == dns.rcode.NOTAUTH:
        return ZoneMissing(f"the server has no such zone of its own: {said}")
    if rcode == dns.rcode.REFUSED:
        return AuthenticationFailed(f"the server refuses (allow-transfer, allow-update?): {said}")
    if rcode == dns.rcode.NOTIMP:
        return Unsupported(said)
    if rcode == dns.rcode.SERVFAIL or not circumstances.is_write:
        return ServerFailure(said)
    return _refused(said, circumstances)


def _of_octodns(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    if isinstance(exc, SupportsException):
        return Unsupported(first_line(exc))
    if isinstance(exc, RecordException | ZoneException) and circumstances.is_write:
        return _refused(first_line(exc), circumstances)
    return None


def _of_network(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    if _is(exc, _NO_CREDENTIALS):
        return AuthenticationFailed(_said(exc))
    # A wrapper says less than what it wraps: whether the connection ever stood.
    is_refused = isinstance(exc, ConnectionRefusedError | ssl.SSLCertVerificationError)
    if is_refused or _is(exc, _NOT_CONNECTED) or _wraps_new_connection(exc):
        if circumstances.may_have_written and circumstances.is_write and not is_refused:
            return OutcomeUnknown(_said(exc))
        return Unreachable(_said(exc))
    if isinstance(exc, OSError | EOFError) or _is(exc, _NO_ANSWER):
        return _no_answer(_said(exc), circumstances)
    return None


def _by_name(exc: BaseException, circumstances: Circumstances) -> BackendError | None:
    name = type(exc).__name__
    if _DENIED_NAME.search(name):
        return AuthenticationFailed(_said(exc))
    if _LIMITED_NAME.search(name):
        return RateLimited(_said(exc))
    if _REFUSED_NAME.search(name) and circumstances.is_write:
        return _refused(_said(exc), circumstances)
    return None


def _no_answer(said: str, circumstances: Circumstances) -> BackendError:
    return OutcomeUnknown(said) if circumstances.may_have_written else Unreachable(said)


def _refused(said: str, circumstances: Circumstances) -> RecordRejected:
    return RecordRejected(said, rrset=_named(said, circumstances.changes))


def _named(said: str, changes: Iterable[RRsetChange]) -> Key | None:
    """Which of our RRsets a refusal is about: the only one there was, or the only one that it names."""
    keys = [change.key for change in changes]
    if len(keys) <= 1:
        return keys[0] if keys else None
    words = set(re.split(r"[^\w.*@\\-]+", said.lower()))
    names = {name for name, _ in keys if name in words or name.rstrip(".") in words}
    named = [key for key in keys if key[0] in names and (key[1].lower() in words)]
    return named[0] if len(named) == 1 else None


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from or during, the latest first."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _wraps_new_connection(exc: BaseException) -> bool:
    """urllib3's reason, which `requests` and urllib3 keep in arguments and not in the chain."""
    inner = [getattr(exc, "reason", None), *exc.args]
    return any(
        isinstance(each, BaseException) and (_is(each, _NOT_CONNECTED) or _wraps_new_connection(each))
        for each in inner
    )


def _is(exc: BaseException, names: Iterable[str]) -> bool:
    return not {f"{base.__module__}.{base.__name__}" for base in type(exc).__mro__}.isdisjoint(names)


def _said(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {first_line(exc)}"[:_WORDS]
