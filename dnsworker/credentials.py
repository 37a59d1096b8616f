"""Secrets in pools.yaml: where they come from, when they are read, and how they are kept out of sight.

Separate from the pools so that a backend's options can use `TsigKey` and references without knowing pools.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from dnsworker.errors import ConfigError

if TYPE_CHECKING:
    import dns.tsig

MASK = "********"
TSIG_ALGORITHMS = (
    "hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5",
)  # fmt: skip

#: Option names whose value is a secret, whatever the backend. `…_file`, `…_path`, `…_name` aren't.
_SECRET_NAME = re.compile(r"(?:secret|password|passwd|token|credentials?|(?:^|_)key)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")


class SecretReference(BaseModel):
    """`{file: /run/secrets/x}` or `{env: NAME}`: where a secret is read when it is needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    file: str | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> SecretReference:
        if (self.file is None) == (self.env is None):
            raise ValueError("give either file or env")
        return self

    def read(self) -> str:
        """The secret. Raises `ConfigError`."""
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise ConfigError(f"the environment variable {self.env}, which pools.yaml names, is not set")
            return value
        path = Path(self.file or "")
        try:
            value = path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ConfigError(f"can't read {path}, which pools.yaml names: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{path}, which pools.yaml names, is not text") from exc
        if not value:
            raise ConfigError(f"{path}, which pools.yaml names, is empty")
        return value


class TsigKey(BaseModel):
    """A TSIG key (RFC 8945). May be written as `nsupdate -y` takes it: `[hmac-sha256:]name:secret`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    algorithm: str = "hmac-sha256"
    #: Base64, or where to read it.
    secret: SecretReference | SecretStr

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        if not isinstance(raw, str):
            return raw
        parts = raw.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError("a TSIG key as text is [algorithm:]name:secret")
        return dict(zip(("secret", "name", "algorithm"), reversed(parts), strict=False))

    @field_validator("algorithm")
    @classmethod
    def _known(cls, value: str) -> str:
        algorithm = value.lower().rstrip(".").replace("hmac-md5.sig-alg.reg.int", "hmac-md5")
        if algorithm not in TSIG_ALGORITHMS:
            raise ValueError(f"no TSIG algorithm {value!r}; there are: {', '.join(TSIG_ALGORITHMS)}")
        return algorithm

    @field_validator("secret")
    @classmethod
    def _base64(cls, value: SecretReference | SecretStr) -> SecretReference | SecretStr:
        if isinstance(value, SecretStr):
            _check_base64(value.get_secret_value())
        return value

    def to_dnspython(self) -> dns.tsig.Key:
        """The key for queries and updates; reads the secret where it is a reference. Raises `ConfigError`."""
        import dns.name
        import dns.tsig

        given = self.secret
        secret = given.read() if isinstance(given, SecretReference) else given.get_secret_value()
        try:
            _check_base64(secret)
        except ValueError as exc:
            raise ConfigError(f"TSIG key {self.name}: {exc}") from exc
        algorithm = "hmac-md5.sig-alg.reg.int" if self.algorithm == "hmac-md5" else self.algorithm
        return dns.tsig.Key(dns.name.from_text(self.name), secret, dns.name.from_text(algorithm))


def resolve_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with every `{file: …}` and `{env: …}` replaced by what is there. Raises `ConfigError`."""
    return {name: _resolved(value) for name, value in options.items()}


def mask(value: Any, name: str = "") -> Any:
    """`value` fit to be shown: literal secrets replaced, references kept (they say where to look)."""
    if isinstance(value, Mapping):
        return {str(key): mask(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(inner, name) for inner in value]
    if isinstance(value, SecretStr) or (_SECRET_NAME.search(name) and value is not None):
        return MASK
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", value) if isinstance(value, str) else value


def mask_url(url: str) -> str:
    """A URL without its password."""
    return str(mask(url))


def is_reference(value: Any) -> bool:
    """Whether an option's value says where a secret is, rather than being it."""
    return (
        isinstance(value, Mapping)
        and len(value) == 1
        and all(key in ("file", "env") and isinstance(where, str) for key, where in value.items())
    )


def _resolved(value: Any) -> Any:
    if is_reference(value):
        return SecretReference(**value).read()
    if isinstance(value, Mapping):
        return resolve_secrets(value)
    return [_resolved(inner) for inner in value] if isinstance(value, list) else value


def _check_base64(text: str) -> None:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the secret is not base64") from None  # the cause would quote the secret
    if not decoded:
        raise ValueError("the secret is empty")
