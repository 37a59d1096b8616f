"""Hooks in the HTTP clients of a provider: a time-out for each request, no retries, and each announced.

Separate because it is the one place that reaches into somebody else's objects. Known are `requests` (most
providers) and botocore; what a provider does with another client stays unbounded and unseen.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from dnsworker.errors import ServerFailure

#: How deep a client may lie: the provider, its client object, that one's session.
_DEPTH = 3
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Watch:
    """What one provider object sends. Attached right after the provider is made."""

    def __init__(self, connect_timeout_s: float, timeout_s: float, announce: Callable[[], None]) -> None:
        """`announce` is called just before each request."""
        self._connect_timeout_s = min(connect_timeout_s, timeout_s)
        self._timeout_s = timeout_s
        self._announce = announce
        self._clients: list[Any] = []
        #: A request that changes something has been handed to a client.
        self.has_written = False
        #: Route 53's handle for the last change.
        self.change_id: str | None = None

    @property
    def sees_requests(self) -> bool:
        """Whether a client was found, and `has_written` means something."""
        return bool(self._clients)

    def attach(self, provider: Any) -> None:
        """Find the provider's clients and hook into them."""
        for client in _clients_of(provider):
            self._clients.append(client)
            if _is_session(client):
                self._hook_session(client)
            else:
                self._hook_botocore(client)

    def close(self) -> None:
        """Give up the clients' connections."""
        for client in self._clients:
            client.close()

    def _hook_session(self, session: Any) -> None:
        send = session.send

        def send_watched(request: Any, **kwargs: Any) -> Any:
            self._before(request.method)
            timeout_s = kwargs.get("timeout")
            if not isinstance(timeout_s, int | float):
                timeout_s = self._timeout_s
            kwargs["timeout"] = (min(self._connect_timeout_s, timeout_s), timeout_s)
            if request.method in _READS:
                return send(request, **kwargs)
            response = send(request, **{**kwargs, "allow_redirects": False})
            if response.is_redirect:  # followed, it would be a GET, whose 200 looks like a success
                raise ServerFailure(
                    f"the provider answered {response.status_code}, a redirection, to a change"
                )
            return response

        session.send = send_watched
        for adapter in session.adapters.values():
            # As `requests` makes it for no retries at all.
            adapter.max_retries = type(adapter.max_retries)(0, read=False)

    def _hook_botocore(self, client: Any) -> None:
        def before_call(model: Any, context: dict[str, Any], **_: Any) -> None:
            context["read_timeout"] = self._timeout_s
            self._before(model.http["method"])

        def after_call(parsed: dict[str, Any], **_: Any) -> None:
            self.change_id = parsed.get("ChangeInfo", {}).get("Id", self.change_id)

        client.meta.events.register("before-call", before_call)
        client.meta.events.register("after-call.route53.ChangeResourceRecordSets", after_call)

    def _before(self, method: str) -> None:
        self._announce()
        if method.upper() not in _READS:
            self.has_written = True


def _clients_of(provider: Any) -> Iterator[Any]:
    """The provider's HTTP clients, wherever its object keeps them."""
    seen = {id(provider)}
    level = [provider]
    for _ in range(_DEPTH):
        found = []
        for holder in level:
            for value in list(getattr(holder, "__dict__", {}).values()):
                if id(value) in seen or isinstance(value, logging.Logger | ModuleType | type):
                    continue
                seen.add(id(value))
                if _is_session(value) or _is_botocore(value):
                    yield value
                else:
                    found.append(value)
        level = found


def _is_session(value: Any) -> bool:
    # Not imported here: whoever has a session has imported it.
    requests = sys.modules.get("requests")
    return requests is not None and isinstance(value, requests.Session)


def _is_botocore(value: Any) -> bool:
    client = sys.modules.get("botocore.client")
    return client is not None and isinstance(value, client.BaseClient)
