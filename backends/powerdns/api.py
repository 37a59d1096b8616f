"""HTTP to the PowerDNS API, and what its answers mean as errors.

Separate so that the one place that decides "absent", "refused" or "don't know" from a status is small: in
this API a 404 is given for a zone that isn't there, for a wrong server id and by any proxy alike.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from backends.http_headers import retry_after_s
from backends.powerdns.options import PowerDNSOptions
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Busy,
    ConfigError,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unreachable,
)

_LARGE_BYTES = 64 * 1024
_WORDS = 300  # characters of the server's words that go into an error

#: How 4.7 names an RRset in its refusals.
_NAMED = (
    re.compile(r"RRset (?P<name>\S+) IN (?P<type>[A-Z0-9-]+)"),
    re.compile(r"Record (?P<name>\S+)/(?P<type>[A-Z0-9-]+) "),
)
_NAMED_OWNER = re.compile(r"Name '(?P<name>[^']+)'")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        """The body. Raises `ServerFailure` when it isn't JSON: then it isn't PowerDNS that answered."""
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise ServerFailure(f"the answer is not from a PowerDNS API: {_excerpt(self.body)!r}") from exc


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """What a refusal is about, as PowerDNS spells it; `type` is None where it names only the owner."""

    name: str
    type: str | None


class Refused(RecordRejected):
    """A 400, 413 or 422, before anybody has looked up which RRset of ours it names."""

    named: NamedRecord | None = None


class Api:
    """One API endpoint with its pooled connections."""

    def __init__(self, options: PowerDNSOptions, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._bulk_timeout_s = max(timeout_s, options.bulk_timeout_s)
        self._base_url = f"{options.api_url}/api/v1/servers/{options.server_id}"
        self._client = httpx.Client(
            headers={"X-API-Key": options.api_key.get_secret_value(), "Accept": "application/json"},
            verify=_tls(options),
            trust_env=False,  # a proxy or .netrc of the shell must not see the key
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
        is_bulk: bool = False,
        is_refusable: bool = False,
    ) -> Answer:
        """One request. Statuses in `accept` are returned, all others raised as `BackendError`s.

        `is_refusable`: the request carries records, so a 400, 413 or 422 is `Refused`.
        """
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        is_bulk = is_bulk or (content is not None and len(content) > _LARGE_BYTES)
        timeout_s = self._bulk_timeout_s if is_bulk else self._timeout_s
        with translate_errors(is_write=method != "GET"):
            answer, headers = self._exchange(method, path, content, params, timeout_s)
        if answer.status in accept:
            return answer
        raise _error(method, answer, headers, is_refusable=is_refusable)

    def _exchange(
        self,
        method: str,
        path: str,
        content: bytes | None,
        params: Mapping[str, str] | None,
        timeout_s: float,
    ) -> tuple[Answer, httpx.Headers]:
        """httpx's time-outs are per read; the deadline bounds an answer that arrives in drops."""
        deadline = time.monotonic() + timeout_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, self._timeout_s))
        headers = {"Content-Type": "application/json"} if content is not None else None
        parts: list[bytes] = []
        with self._client.stream(
            method, self._base_url + path, content=content, params=params, headers=headers, timeout=timeout
        ) as response:
            for part in response.iter_bytes():
                parts.append(part)
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"no complete answer within {timeout_s:g} s")
            return Answer(response.status_code, b"".join(parts)), response.headers


def _tls(options: PowerDNSOptions) -> ssl.SSLContext | bool:
    if not options.verify_tls:
        return False
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(f"ca_file {options.ca_file} can't be read as certificates: {exc}") from exc


@contextmanager
def translate_errors(*, is_write: bool) -> Iterator[None]:
    """httpx's errors as ours. A write that broke after the connection stood may have been carried out."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
        raise Unreachable(f"no connection to the PowerDNS API: {exc}") from exc
    except (httpx.TransportError, httpx.DecodingError) as exc:
        words = str(exc) or type(exc).__name__
        if is_write:
            raise OutcomeUnknown(f"no complete answer from the PowerDNS API: {words}") from exc
        raise Unreachable(f"no complete answer from the PowerDNS API: {words}") from exc


def _error(method: str, answer: Answer, headers: httpx.Headers, *, is_refusable: bool) -> BackendError:
    """What a status that nobody accepted means. A status that isn't known here is an error like any other."""
    words = _words(answer.body)
    said = f"PowerDNS answered {answer.status}: {words}"
    if answer.status in (401, 403):
        return AuthenticationFailed(f"{said}; compare api_key with `api-key` of pdns.conf")
    if answer.status == 429:
        return RateLimited(said, retry_after_s=retry_after_s(headers.get("Retry-After")))
    if answer.status == 422 and "ectif" in words:
        return ServerFailure(said)  # "Failed to rectify": the zone's matter, no record's
    if answer.status == 422 and "able to secure" in words:
        return Permanent(f"{said} (gsqlite3-dnssec=yes, or the like of another backend, in pdns.conf)")
    if (
        answer.status in (400, 413, 422) and is_refusable
    ):  # 400 is also what a body over webserver-max-bodysize gets
        refused = Refused(said)
        refused.named = _named(words)
        return refused
    if answer.status in (502, 504) and method != "GET":
        return OutcomeUnknown(said)  # a proxy gave up waiting: PowerDNS may go on
    if answer.status in (500, 502, 503, 504):
        # Never about a record, for which 422 is: a repeated ServerFailure would have the delivery suspect
        # the contents. 500 is what PowerDNS makes of its database ("locked", as SQLite says; away).
        return Busy(said)
    return ServerFailure(said)


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])[:_WORDS]
    except (ValueError, KeyError, TypeError):
        return _excerpt(body)


def _excerpt(body: bytes) -> str:
    return " ".join(body[:_WORDS].decode("utf-8", "replace").split())


def _named(words: str) -> NamedRecord | None:
    for pattern in _NAMED:
        if match := pattern.search(words):
            return NamedRecord(match["name"].lower(), match["type"])
    if match := _NAMED_OWNER.search(words):
        return NamedRecord(match["name"].lower(), None)
    return None
