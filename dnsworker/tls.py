"""TLS to broker, Redis and database: what the schemes `amqps` and `rediss` mean, and whose word counts.

Separate because each library has its own idea of a default: kombu would check no host name, Celery refuses
`rediss://` without more, and libpq asks nobody who he is. Here a certificate is always checked, its name
included, against `DNSWORKER_CA_BUNDLE` or the system's authorities; what a URL says itself counts first.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dnsworker.errors import ConfigError

#: libpq's modes that look at the certificate.
_VERIFYING = ("verify-ca", "verify-full")
#: What a URL of MariaDB may say of TLS.
_MARIADB_SSL = ("ssl", "ssl_ca", "ssl_cert", "ssl_key")


def broker_ssl(url: str, ca_bundle: Path | None) -> dict[str, Any] | bool:
    """kombu's `ssl` for a broker's URL (or several with `;` between): False unless it says `amqps://`."""
    if not url.startswith("amqps://"):
        return False
    # None has kombu fill in the host of the URL, which is then the name that is checked.
    checked: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    return checked if ca_bundle is None else checked | {"ca_certs": str(ca_bundle)}


def redis_url(url: str, ca_bundle: Path | None) -> str:
    """A Redis URL with what its client needs to check the server; as it is unless it says `rediss://`."""
    if not url.startswith("rediss://"):
        return url
    return _with_defaults(url, ssl_cert_reqs="required", ssl_ca_certs=ca_bundle)


def database_url(url: str, ca_bundle: Path | None) -> str:
    """A database URL that asks for TLS, with the authorities to check certificates against: PostgreSQL's by
    an `sslmode` that checks them, MariaDB's by `ssl=true`."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme.startswith("postgresql") and query.get("sslmode") in _VERIFYING:
        return _with_defaults(url, sslrootcert=ca_bundle)
    if parts.scheme.startswith(("mariadb", "mysql")) and _wants_ssl(query):
        return _with_defaults(url, ssl_ca=ca_bundle)
    return url


def mariadb_context(query: Mapping[str, Any]) -> ssl.SSLContext | None:
    """How to talk TLS to a MariaDB whose URL has this query; None where it doesn't ask for it.

    The certificate and its name are always checked. Raises `ConfigError`.
    """
    unknown = sorted(name for name in query if name.startswith("ssl") and name not in _MARIADB_SSL)
    if unknown:
        raise ConfigError(
            f"DNSWORKER_DATABASE_URL: {unknown[0]} isn't known; certificate and name are always checked "
            f"with ssl=true; there are {', '.join(_MARIADB_SSL)}"
        )
    if not _wants_ssl(query):
        return None
    try:
        context = ssl.create_default_context(cafile=query.get("ssl_ca"))
        if "ssl_cert" in query:
            context.load_cert_chain(query["ssl_cert"], query.get("ssl_key"))
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(
            f"DNSWORKER_DATABASE_URL: can't use its ssl_ca, ssl_cert or ssl_key: {exc.strerror or exc}"
        ) from exc
    return context


def _wants_ssl(query: Mapping[str, Any]) -> bool:
    """Raises `ConfigError` for an `ssl` that says neither yes nor no."""
    said = query.get("ssl", "true" if any(name in query for name in _MARIADB_SSL) else "false")
    if said not in ("true", "false"):
        raise ConfigError(f"DNSWORKER_DATABASE_URL: ssl={said}: say ssl=true or ssl=false")
    return bool(said == "true")


def _with_defaults(url: str, **defaults: object) -> str:
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    query = {name: str(value) for name, value in defaults.items() if value is not None} | given
    return urlunsplit(parts._replace(query=urlencode(query, safe="/")))
