"""What may be sent, for those who send it without this library."""

from __future__ import annotations

from typing import Any

from dnsworker.requests.kinds import OPERATIONS
from dnsworker.requests.questions import QUERIES
from dnsworker.requests.request import PREFIX


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every task's keyword arguments, by task name."""
    models = {**OPERATIONS, **QUERIES}
    return {PREFIX + kind: model.model_json_schema(by_alias=True) for kind, model in models.items()}
