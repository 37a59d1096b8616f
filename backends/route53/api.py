"""boto3 to the Route 53 API, and what its answers mean as errors.

Separate so that the one place that decides "absent", "refused" or "don't know" from a code is small.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import boto3.session
import botocore.exceptions
import botocore.loaders
import botocore.parsers
import botocore.session
from botocore.config import Config

from backends.route53.options import Route53Options
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
    ZoneMissing,
)

Answer = dict[str, Any]

_WORDS = 500  # characters of the service's words that go into an error
#: The signature of a request is good for so long before and after (in AWS's words "5 min.").
MAX_SKEW_S = 300

_THROTTLED = frozenset(
    ("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "TooManyRequests")
)
_NOT_ALLOWED = frozenset(
    (
        *("AccessDenied", "AccessDeniedException", "NotAuthorizedException", "OptInRequired"),
        *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure"),
        *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"),
        *("MissingAuthenticationToken", "ExpiredToken", "ExpiredTokenException", "RequestExpired"),
        "RequestTimeTooSkewed",
    )
)
#: About what is asked for, whoever asks and whenever.
_UNSUPPORTED = frozenset(
    (
        *("ConflictingDomainExists", "DelegationSetNotAvailable", "DelegationSetNotReusable"),
        *("InvalidDomainName", "InvalidVPCId", "NoSuchDelegationSet", "TooManyHostedZones"),
    )
)


class Refused(RecordRejected):
    """A batch that was refused as a whole: nothing of it was done."""

    #: All that Route 53 said; the message has the beginning of it.
    words: str = ""


class ChangeForgotten(ServerFailure):
    """Route 53 doesn't know the id of a change."""


class HostedZoneNotEmpty(ServerFailure):
    """Somebody has put records into the zone that is being deleted."""


class ReferenceUsed(ServerFailure):
    """A hosted zone was once created with this caller reference; perhaps it is deleted by now."""


class Api:
    """One account at one endpoint, with its pooled connections."""

    def __init__(self, options: Route53Options, timeout_s: float) -> None:
        secret, token = options.secret_access_key, options.session_token
        core = botocore.session.Session(profile=options.profile)
        core.register_component("data_loader", _loader())
        try:
            self._client: Any = boto3.session.Session(botocore_session=core).client(
                "route53",
                region_name=options.region,
                endpoint_url=options.endpoint_url,
                aws_access_key_id=options.access_key_id,
                aws_secret_access_key=secret.get_secret_value() if secret else None,
                aws_session_token=token.get_secret_value() if token else None,
                config=Config(
                    connect_timeout=timeout_s,
                    read_timeout=options.read_timeout_s,
                    retries={"total_max_attempts": 1},  # the delivery decides about that
                ),
            )
        except botocore.exceptions.BotoCoreError as exc:
            raise ConfigError(f"no client for Route 53 can be made: {exc}") from exc
        self.endpoint: str = self._client.meta.endpoint_url

    def read(self, action: str, expects: str, **parameters: Any) -> Answer:
        """One request that changes nothing. `expects`: what a complete answer has."""
        return self._call(action, expects, parameters, is_write=False)

    def write(self, action: str, **parameters: Any) -> Answer:
        """One request that changes something."""
        return self._call(action, "ChangeInfo", parameters, is_write=True)

    def close(self) -> None:
        self._client.close()

    def _call(self, action: str, expects: str, parameters: dict[str, Any], *, is_write: bool) -> Answer:
        with translate_errors(is_write=is_write):
            answer: Answer = getattr(self._client, action)(**parameters)
        if expects not in answer:  # boto3 makes an empty answer of any XML
            said = f"the answer to {action} is not from Route 53 or not complete"
            raise OutcomeUnknown(said) if is_write else ServerFailure(said)
        return answer


@functools.cache
def _loader() -> botocore.loaders.Loader:
    """It remembers the description of the API, which takes longer to read than all the rest of a client."""
    loader: botocore.loaders.Loader = botocore.session.Session().get_component("data_loader")
    return loader


@contextmanager
def translate_errors(*, is_write: bool) -> Iterator[None]:
    """boto3's errors as ours. A write that broke after the connection stood may have been carried out."""
    try:
        yield
    except botocore.exceptions.ClientError as exc:
        raise _error(exc.response, is_write=is_write) from exc
    except (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
        botocore.exceptions.CredentialRetrievalError,
        botocore.exceptions.MetadataRetrievalError,
        botocore.exceptions.TokenRetrievalError,
        botocore.exceptions.NoAuthTokenError,
    ) as exc:
        raise AuthenticationFailed(f"no AWS credentials: {exc}") from exc
    except (
        botocore.exceptions.EndpointConnectionError,
        botocore.exceptions.ConnectTimeoutError,
        botocore.exceptions.ProxyConnectionError,
        botocore.exceptions.SSLError,
    ) as exc:
        raise Unreachable(f"no connection to Route 53: {exc}") from exc
    except botocore.exceptions.ParamValidationError as exc:
        raise Unsupported(f"not in the form of Route 53: {_line(str(exc))}") from exc
    except (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError) as exc:
        said = f"no complete answer from Route 53: {_line(str(exc))}"
        raise OutcomeUnknown(said) if is_write else Unreachable(said) from exc


def _error(response: Answer, *, is_write: bool) -> BackendError:
    """What an error answer means. A code that isn't known here is an error like any other."""
    meta, error = response.get("ResponseMetadata", {}), response.get("Error", {})
    status, code = int(meta.get("HTTPStatusCode", 0)), str(error.get("Code", ""))
    headers = meta.get("HTTPHeaders", {})
    words = str(error.get("Message") or "; ".join(response.get("messages", ())))
    said = f"Route 53 answered {status} {code}: {_line(words)}"
    if code in _THROTTLED or status == 429:
        return RateLimited(said, retry_after_s=_retry_after(headers.get("retry-after")))
    if code == "PriorRequestNotComplete":
        return Busy(said)
    if code in _NOT_ALLOWED or status in (401, 403):
        return AuthenticationFailed(_with_skew(said, words, headers.get("date")))
    if code == "NoSuchHostedZone":
        return ZoneMissing(said)
    if code == "InvalidChangeBatch" or (code == "InvalidInput" and is_write):
        refused = Refused(f"Route 53 refuses it: {_line(words) or code}")
        refused.words = words
        return refused
    if code == "NoSuchChange":
        return ChangeForgotten(said)
    if code == "HostedZoneNotEmpty":
        return HostedZoneNotEmpty(said)
    if code == "HostedZoneAlreadyExists":
        return ReferenceUsed(said)
    if code in _UNSUPPORTED:
        return Unsupported(said)
    if status in (502, 504) and is_write:
        return OutcomeUnknown(said)  # something between us gave up waiting
    if status >= 500:
        # Never about a record: a repeated ServerFailure would have the delivery suspect the contents.
        return Busy(said)
    return ServerFailure(said)


def _with_skew(said: str, words: str, date: str | None) -> str:
    """A wrong clock looks like a wrong secret: say which it is, and by how much."""
    skew_s = skew_of(date)
    if "expired" not in words and "not yet current" not in words and abs(skew_s) < MAX_SKEW_S:
        return said
    if abs(skew_s) < 1:
        return said
    return f"this machine's clock is {shown_skew(skew_s)} Route 53's, which refuses from 5 min. on ({said})"


def skew_of(date: str | None) -> float:
    """Seconds that our clock is ahead of the one that wrote the `Date` header; 0 where it says nothing."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def shown_skew(skew_s: float) -> str:
    return f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'}"


def _retry_after(value: str | None) -> float | None:
    """Seconds, from the header's seconds or date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return max(0.0, -skew_of(value)) or None


def _line(words: str) -> str:
    return " ".join(words.split())[:_WORDS]
