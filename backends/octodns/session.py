"""One provider object for one piece of work, and its errors as ours.

A new object each time: providers keep what they have read and never look again, and aren't made for several
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backends.octodns.clients import Watch
from backends.octodns.convert import contents_of, empty_zone, first_line
from backends.octodns.failures import Circumstances, as_backend_error
from backends.octodns.options import OctoDNSOptions
from backends.octodns.provider_class import keywords_of, load_class
from backends.octodns.traits import traits_of
from dnsworker.credentials import MASK
from dnsworker.errors import DNSWorkerError, Permanent
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset


class Sessions:
    """Makes provider objects for one target."""

    def __init__(
        self, target: str, options: OctoDNSOptions, timeout_s: float, announce: Callable[[], None]
    ) -> None:
        """`announce` is called before each request, or where they can't be seen, once for each provider."""
        self._target = target
        self._options = options
        self._timeout_s = timeout_s
        self._announce = announce
        self.provider_class = load_class(options.provider)
        self.traits = traits_of(self.provider_class)

    @contextmanager
    def open(self, *, is_write: bool = False, changes: Sequence[RRsetChange] = ()) -> Iterator[Session]:
        """A fresh provider. Whatever it raises within the block comes out as a `BackendError`."""
        watch = Watch(self._timeout_s, self._options.request_timeout_s, self._announce)
        provider = None
        try:
            provider = self._make()
            watch.attach(provider)
            if self.traits.announce_requests is not None:
                self.traits.announce_requests(provider, self._announce)
            elif not watch.sees_requests:
                self._announce()
            yield Session(self, provider, watch)
        except DNSWorkerError:
            raise
        except Exception as exc:  # noqa: BLE001 - a provider is anybody's code
            may_have_written = watch.has_written if watch.sees_requests else is_write
            error = as_backend_error(
                exc,
                Circumstances(is_write, may_have_written, tuple(changes), self.traits.busy_statuses),
            )
            if provider is None and type(exc) in (TypeError, ValueError):
                error = Permanent(f"{self._options.provider} doesn't take these kwargs: {first_line(exc)}")
            raise self._scrubbed(error) from self._fit_to_be_shown(exc)
        finally:
            watch.close()

    def _make(self) -> Any:
        accepted, _ = keywords_of(self.provider_class)
        defaults = {
            "timeout": self._options.request_timeout_s,
            # The delivery decides when something is tried again. Cloudflare's provider sleeps 300 s.
            "retry_count": 1,
            "client_max_attempts": 0,
            **self.traits.kwargs,
        }
        wanted = {name: value for name, value in defaults.items() if name in accepted}
        return self.provider_class(self._target, **{**wanted, **self._options.revealed()})

    def _scrubbed(self, error: Any) -> Any:
        """The error without any text that pools.yaml gave the provider as an argument."""
        for secret in self._options.secrets():
            error.message = error.message.replace(secret, MASK)
        error.args = (error.message,)
        return error

    def _fit_to_be_shown(self, exc: BaseException) -> BaseException | None:
        """The cause, unless it or what it came from quotes a secret."""
        texts: list[str] = []
        cause: BaseException | None = exc
        while cause is not None and len(texts) < 20:
            texts.append(repr(cause) + str(cause))
            cause = cause.__cause__ or cause.__context__
        return None if any(secret in text for secret in self._options.secrets() for text in texts) else exc


class Session:
    """A provider object at work."""

    def __init__(self, sessions: Sessions, provider: Any, watch: Watch) -> None:
        self.provider = provider
        self.traits = sessions.traits
        self._watch = watch

    @property
    def change_id(self) -> str | None:
        return self._watch.change_id

    def read(self, name: Name) -> Any | None:
        """octoDNS' zone as the provider has it; None when it says that it hasn't got it."""
        zone = empty_zone(name)
        try:
            exists = self.provider.populate(zone, target=True, lenient=True)
        except Exception as exc:
            if self.traits.says_absent(exc):
                return None
            raise
        return zone if exists else None

    def has(self, name: Name) -> bool:
        if self.traits.has_zone is not None:
            return self.traits.has_zone(self.provider, name)
        return self.read(name) is not None

    def contents(self, zone: Any) -> dict[Key, RRset]:
        """The RRsets of what `read` gave."""
        return contents_of(zone, self.traits.respell)
