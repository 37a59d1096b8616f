"""The fenced blocks of README and docs. Whoever runs one takes it from here, by page, section and number.

`tests/unit/test_documented.py` finds those calls in the code of the tests, and fails for a block that nobody
takes. A block of `text` is a drawing and needs no runner; one of `{…}` is a directive, run by `make docs`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from dev.program import ROOT

DRAWING = "text"


@dataclass(frozen=True)
class Block:
    page: str
    #: The heading that it stands under, of whatever level.
    section: str
    #: From 1, within the section.
    number: int
    language: str
    text: str

    @property
    def needs_a_runner(self) -> bool:
        return self.language != DRAWING and not self.language.startswith("{")

    def __str__(self) -> str:
        return f"{self.page}, {self.section!r}, block {self.number}"


def pages() -> list[str]:
    """README and docs, relative to the checkout."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in found]


@functools.cache
def blocks_on(page: str) -> tuple[Block, ...]:
    """All of a page, in order."""
    found: list[Block] = []
    section, language, lines = "", None, list[str]()
    for line in (ROOT / page).read_text("utf-8").splitlines(keepends=True):
        if language is None:
            if line.startswith("```"):
                language, lines = line[3:].strip(), []
            elif heading := re.match(r"#+ (.+)", line):
                section = heading[1].strip()
        elif line.startswith("```"):
            number = 1 + sum(block.section == section for block in found)
            found.append(Block(page, section, number, language, "".join(lines)))
            language = None
        else:
            lines.append(line)
    return tuple(found)


def block(page: str, section: str, number: int = 1) -> str:
    """The text of one block. Raises `KeyError`."""
    for each in blocks_on(page):
        if (each.section, each.number) == (section, number):
            return each.text
    raise KeyError(f"{page}, {section!r}: no block {number}")


def blocks_in(page: str, section: str) -> list[str]:
    """All under one heading. Raises `KeyError` where there is none."""
    found = [each.text for each in blocks_on(page) if each.section == section and each.needs_a_runner]
    if not found:
        raise KeyError(f"{page}, {section!r}: no block")
    return found


def blocks_of(page: str, *languages: str) -> list[str]:
    """All of a page in these languages."""
    return [each.text for each in blocks_on(page) if each.language in languages]
