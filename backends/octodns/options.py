"""What pools.yaml says about an `octodns` target, checked when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator

from backends.octodns.provider_class import check_keywords, load_class
from backends.octodns.traits import traits_of
from dnsworker.backend import Options

#: Arguments that are no secret whatever they hold, so that an error may quote them. All others may be one.
_PLAIN_NAME = re.compile(
    r"(?:^|_)(?:algorithm|domain|endpoint|host|hostname|id|ids|mode|mode_of_operation|name|path|port|profile|"
    r"region|scheme|soa_edit_api|url|version)$"
)
#: A shorter text isn't one that is worth hiding, and would be found in any message.
_SECRET_LENGTH = 6


class OctoDNSOptions(Options):
    """The `options` of a target of `type: octodns`."""

    #: The provider, as octoDNS' configuration names it: `octodns_powerdns.PowerDnsProvider`.
    provider: Annotated[str, Field(alias="class")]
    #: The provider's keyword arguments. Any text in it may be a secret, so each is kept as one.
    kwargs: Mapping[str, Any] = Field(default={}, repr=False)
    #: For one request of the provider, where its client lets that be set.
    request_timeout_s: float = Field(default=30.0, gt=0)
    #: RRset changes that the provider is given at once. None: what is known of the provider.
    max_batch: int | None = Field(default=None, ge=1)

    @field_validator("provider")
    @classmethod
    def _a_provider_that_can_be_written_to(cls, path: str) -> str:
        if reason := traits_of(load_class(path)).unfit:
            raise ValueError(f"{path} {reason}")
        return path

    @field_validator("kwargs")
    @classmethod
    def _accepted(cls, kwargs: Mapping[str, Any], info: Any) -> Mapping[str, Any]:
        if "provider" in info.data:
            check_keywords(load_class(info.data["provider"]), kwargs)
        return {name: _hidden(value) for name, value in kwargs.items()}

    def revealed(self) -> dict[str, Any]:
        """The keyword arguments as the provider wants them."""
        return {name: _shown(value) for name, value in self.kwargs.items()}

    def secrets(self) -> list[str]:
        """The texts that no message may hold, the longest first."""
        found = {text for name, value in self.kwargs.items() for text in _texts(name, value)}
        return sorted((text for text in found if len(text) >= _SECRET_LENGTH), key=len, reverse=True)


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, Mapping):
        return {name: _hidden(inner) for name, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {name: _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def _texts(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr) and not _PLAIN_NAME.search(name):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for inner_name, inner in value.items():
            yield from _texts(str(inner_name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(name, inner)
