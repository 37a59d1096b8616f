"""A YAML file that an operator writes, with the line of every place in it.

Separate because pools.yaml and permissions.yaml both say what is wrong by the line.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dnsworker.errors import ConfigError

#: Keys and indexes on the way to a place in the document.
Where = tuple[str | int, ...]


class _OneOfEachLoader(yaml.SafeLoader):
    """A loader that refuses a key given twice; YAML's own takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class Document:
    """What a file says (`raw`), and where it says it. Raises `ConfigError` with file and line."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._root, self.raw = _parse(text, file)

    def line(self, where: Iterable[str | int]) -> int:
        """The line (from 1) of the deepest node on the way to `where` that the file has."""
        node, line = self._root, self._root.start_mark.line if self._root else 0
        for step in where:
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            elif isinstance(node, yaml.MappingNode):
                # a step that the file lacks is a missing key, or pydantic's name for one arm of a union
                found = [(key, value) for key, value in node.value if key.value == step]
                if found:
                    line, node = found[0][0].start_mark.line, found[0][1]
        return line + 1

    def error(self, where: Where, reason: str) -> ConfigError:
        """An error about one place: `pools.yaml:12: …`."""
        return ConfigError(f"{self.file}:{self.line(where)}: {reason}")


def read(path: Path) -> str:
    """The text of a file. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"can't read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text") from exc


def _parse(text: str, file: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _OneOfEachLoader(text)
        try:
            root = loader.get_single_node()
            return root, None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        context = f" ({exc.context})" if exc.context else ""
        hint = _hint(exc)
        raise ConfigError(f"{file}:{mark.line + 1 if mark else 1}: {exc.problem}{context}{hint}") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{file}: {str(exc).splitlines()[0]}") from exc


def _hint(error: yaml.MarkedYAMLError) -> str:
    """What is usually meant by words that YAML has another use for."""
    words = f"{error.context} {error.problem}"
    if "alias" in words:
        return '; what begins with a * needs quotes: "*.example.org"'
    if "'@' that cannot start" in words:
        return '; what begins with an @ needs quotes: "@"'
    return ""
