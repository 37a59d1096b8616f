"""pools.yaml: YAML into pools, with the line of whatever is wrong in it.

Separate from the pools because only here do lines matter; what the database stores comes as a document.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dnsworker import yamlfile
from dnsworker.errors import ConfigError
from dnsworker.pools import KINDS, Pool, first_error, option_error, path_text
from dnsworker.yamlfile import Where

#: What Designate's files carry and we have no use for: read over, with a note.
_BOOKKEEPING = ("id", "pool_id", "created_at", "updated_at", "version")
IGNORED: dict[str, tuple[str, ...]] = {
    "": (*_BOOKKEEPING, "attributes", "provisioner", "tenant_id"),
    "ns_records": _BOOKKEEPING,
    "nameservers": _BOOKKEEPING,
    "also_notifies": _BOOKKEEPING,
    "targets": (*_BOOKKEEPING, "description", "tsigkey_id", "backend"),
}


def load(source: Path | str, notes: list[str], *, checks_options: bool = False) -> list[Pool]:
    """The pools of a file or text. Raises `ConfigError` with file, line and reason."""
    is_text = isinstance(source, str) and "\n" in source
    file = "pools.yaml" if is_text else str(source)
    document = yamlfile.Document(str(source) if is_text else yamlfile.read(Path(source)), file)
    raw = document.raw

    def refuse(where: Where, reason: str) -> ConfigError:
        return document.error(where, _in_words(raw, where) + reason)

    if not isinstance(raw, list) or not raw:
        raise refuse((), "a list of pools is expected: '- name: default' and so on")
    pools: list[Pool] = []
    for index, entry in enumerate(raw):
        if not isinstance(entry, dict):
            raise refuse((index,), "a pool is a mapping: 'name: …', 'ns_records: …', 'targets: …'")
        _read_over(entry, index, lambda where, said: notes.append(f"{file}:{document.line(where)}: {said}"))
        try:
            pools.append(Pool.model_validate(entry))
        except ValidationError as exc:
            inner, reason = first_error(exc)
            raise refuse((index, *inner), reason) from exc
    _refuse_repeats(pools, refuse)
    if checks_options:
        _refuse_unusable(pools, refuse)
    return pools


def _in_words(raw: Any, where: Where) -> str:
    """`pool default: targets[0].name: ` for a place in the file."""
    if not where or not isinstance(where[0], int):
        return ""
    pool = raw[where[0]]
    name = pool.get("name") if isinstance(pool, dict) else None
    label = f"pool {name}" if isinstance(name, str) else f"pool no. {where[0] + 1}"
    return f"{label}: {path_text(where[1:])}: " if where[1:] else f"{label}: "


def _read_over(document: dict[str, Any], index: int, note: Any) -> None:
    """Take out what only Designate knows, and translate its names for backends; both are said."""
    for part, words in IGNORED.items():
        entries = [document] if not part else document.get(part)
        for position, entry in enumerate(entries if isinstance(entries, list) else []):
            where: Where = (index, part, position) if part else (index,)
            for word in [word for word in words if isinstance(entry, dict) and word in entry]:
                note((*where, word), f"{path_text((*where[1:], word))} is Designate's and not used here")
                del entry[word]
            kind = entry.get("type") if part == "targets" and isinstance(entry, dict) else None
            if kind in KINDS:
                note((*where, "type"), f"type {kind} is called {KINDS[kind]} here")
    for unset in [key for key, value in document.items() if value is None]:
        del document[unset]  # Designate writes 'also_notifies:' with nothing after it


def _refuse_repeats(pools: list[Pool], refuse: Any) -> None:
    names: set[str] = set()
    targets: dict[str, str] = {}
    for index, pool in enumerate(pools):
        if pool.name in names:
            raise refuse((index, "name"), f"pool {pool.name!r} is there twice")
        names.add(pool.name)
        for position, target in enumerate(pool.targets):
            if target.name in targets:
                raise refuse(
                    (index, "targets", position, "name"),
                    f"{target.name!r} is also a target of pool {targets[target.name]}; names are unique",
                )
            targets[target.name] = pool.name


def _refuse_unusable(pools: list[Pool], refuse: Any) -> None:
    """What a target's backend can't work with."""
    for index, pool in enumerate(pools):
        for position, target in enumerate(pool.targets):
            if error := option_error(target):
                where, reason = error
                raise refuse((index, "targets", position, *where), reason)
