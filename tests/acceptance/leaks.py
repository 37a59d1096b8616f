"""Whether a secret of a stack stands anywhere that people read."""

from __future__ import annotations

import base64
from urllib.parse import quote, urlsplit

from dev.stack import Stack


def secrets_of(stack: Stack) -> dict[str, str]:
    """What must never be shown, by what it is; also as it looks in URLs and in base64."""
    bind, powerdns = stack.bind, stack.powerdns
    found = {
        "rndc key": bind.rndc_secret,
        "TSIG key": bind.key_secret,
        "API key": powerdns.api_key,
        "RabbitMQ's password": stack.rabbitmq.password,
        "Flower's password": stack.env.get("FLOWER_BASIC_AUTH", ":").partition(":")[2],
    }
    for name, value in stack.env.items():
        if "://" in value and (password := urlsplit(value).password):
            found[name] = password
    kept = {what: secret for what, secret in found.items() if secret}
    assert all(len(secret) >= 8 for secret in kept.values()), "too short to be looked for"
    for what, secret in list(kept.items()):
        kept[f"{what} in a URL"] = quote(secret, safe="")
        kept[f"{what} in base64"] = base64.b64encode(secret.encode()).decode().rstrip("=")
    return kept


def assert_no_leak(stack: Stack, **texts: str) -> None:
    """No secret of the stack in any of these texts."""
    for where, text in texts.items():
        for what, secret in secrets_of(stack).items():
            position = text.find(secret)
            assert position < 0, f"{what} in {where}: …{text[max(0, position - 200) : position]}<secret>"
