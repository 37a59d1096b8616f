"""TLS to broker, Redis and database: what the schemes `amqps` and `rediss` mean, and whose word counts.

Separate because each library has its own idea of a default: kombu would check no host name, Celery refuses
`rediss://` without more, and libpq asks nobody who he is. Here a certificate is always checked, its name
included, against `DNSWORKER_CA_BUNDLE` or the system's authorities; what a URL says itself counts first.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: libpq's modes that look at the certificate.
_VERIFYING = ("verify-ca", "verify-full")


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
    """A database URL whose `sslmode` checks certificates, with the authorities to check them against."""
    parts = urlsplit(url)
    is_checked = dict(parse_qsl(parts.query)).get("sslmode") in _VERIFYING
    if not parts.scheme.startswith("postgresql") or not is_checked:
        return url
    return _with_defaults(url, sslrootcert=ca_bundle)


def _with_defaults(url: str, **defaults: object) -> str:
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    query = {name: str(value) for name, value in defaults.items() if value is not None} | given
    return urlunsplit(parts._replace(query=urlencode(query, safe="/")))
