"""Every block of README and docs is run by a test, and no test runs one that isn't there any more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.program import ROOT
from tests import documented
from tests.documented import Block

TAKERS = {"block", "blocks_in", "blocks_of"}


@dataclass(frozen=True)
class Claim:
    """One call in a test, its arguments written out."""

    where: str
    taker: str
    page: str
    rest: tuple[object, ...]

    def covers(self, block: Block) -> bool:
        if self.page != block.page:
            return False
        if self.taker == "blocks_of":
            return block.language in self.rest
        if self.taker == "blocks_in":
            return self.rest == (block.section,)
        return (*self.rest, 1)[:2] == (block.section, block.number)


def claims_in(text: str, where: str) -> Iterator[Claim]:
    tree = ast.parse(text)
    known = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAKERS:
            # Written out, or a constant of the module: else nobody could say which block it is.
            page, *rest = [
                known[each.id] if isinstance(each, ast.Name) else ast.literal_eval(each) for each in node.args
            ]
            yield Claim(where, node.func.id, page, tuple(rest))


def all_claims() -> list[Claim]:
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    return [claim for path in paths for claim in claims_in(path.read_text("utf-8"), path.name)]


def all_blocks() -> list[Block]:
    return [block for page in documented.pages() for block in documented.blocks_on(page)]


def test_every_block_is_run_by_a_test() -> None:
    claims = all_claims()
    untaken = [
        str(block)
        for block in all_blocks()
        if block.needs_a_runner and not any(claim.covers(block) for claim in claims)
    ]
    assert not untaken, "no test takes (tests/documented.py):\n" + "\n".join(untaken)


def test_no_test_takes_a_block_that_is_not_there() -> None:
    blocks = all_blocks()
    stale = [claim for claim in all_claims() if not any(claim.covers(block) for block in blocks)]
    assert not stale


def test_a_drawing_holds_nothing_that_could_be_run() -> None:
    for block in all_blocks():
        if block.language == documented.DRAWING:
            lines = block.text.splitlines()
            assert not any(line.startswith(("$ ", "dnsworker ", "make ")) for line in lines), block
            assert set(block.text) & set("─│►→┌"), f"{block}: is it a drawing?"


def test_a_claim_is_one_block_or_all_of_a_section_or_language() -> None:
    one, two = (Block("docs/a.md", "How", number, "sh", "") for number in (1, 2))
    calls = ('block(A, "How", 2)', 'block(A, "How")', 'blocks_in(A, "How")', 'blocks_of(A, "sh", "yaml")')
    text = "\n".join(['A = "docs/a.md"', *calls])
    second, first, section, language = claims_in(text, "test_a.py")
    assert [claim.covers(one) for claim in (first, second, section, language)] == [True, False, True, True]
    assert [claim.covers(two) for claim in (first, second, section, language)] == [False, True, True, True]
    other = Block("docs/b.md", "How", 1, "sh", "")
    assert not any(claim.covers(other) for claim in (first, second, section, language))


def test_blocks_are_found_under_their_heading() -> None:
    first = documented.blocks_on("docs/backends/bind9.md")[0]
    assert (first.section, first.number) == ("named.conf", 1)
    assert documented.block("docs/backends/bind9.md", "named.conf") == first.text
