"""What the judge expects of a zone is what PowerDNS answers for it, at every name near a record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from backends.powerdns import BACKEND
from dev.servers import PowerDNS
from dnsworker.answers import answer
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.observer import NameserverAddress, Observed, Observer, agrees, is_gone
from dnsworker.records import SOA, RRset

ZONE = Name("judged.test.")
CHILD = Name("child.judged.test.")
TYPES = ("A", "TXT", "MX", "NS", "CNAME", "DNAME", "DS")


def contents(zone: Name, *lines: str) -> ZoneContents:
    """`owner TYPE data[, data …]`, the owner and a `~` relative to the zone."""
    rrsets = [RRset(zone, "NS", 300, ["ns1.elsewhere.test."])]
    for line in lines:
        owner, type_, data = line.replace("~", f".{zone}").split(" ", 2)
        rrsets.append(RRset(f"{owner}.{zone}", type_, 300, data.split(", ")))
    return ZoneContents.of(zone, SOA(Name("ns1.elsewhere.test."), Name(f"h.{zone}"), 42), rrsets)


HELD = contents(
    ZONE,
    "www A 192.0.2.1, 192.0.2.2",
    "a.b.ent TXT x",
    "*.wild A 192.0.2.3",
    "host.wild TXT x",
    "*.cwild CNAME www~",
    "alias CNAME www~",
    "twice CNAME alias~",
    "nowhere CNAME nothing~",
    "outside CNAME www.elsewhere.test.",
    "tocut CNAME x.cut~",
    "loop CNAME pool~",
    "pool CNAME loop~",
    "cut NS ns.cut~, ns1.elsewhere.test.",
    "ns.cut A 192.0.2.4",
    "hidden.cut TXT x",
    "child NS ns.child~",
    "ns.child A 192.0.2.5",
    "mail MX 10 www~",
)


@pytest.fixture(scope="module")
def backend(powerdns: PowerDNS) -> Iterator[Backend]:
    backend = BACKEND("test", BACKEND.options_model.model_validate(powerdns.target_options()))
    yield backend
    for zone in (CHILD, ZONE):
        backend.delete_zone(zone)
    backend.close()


def ask_all(powerdns: PowerDNS, questions: list[tuple[Name, str]]) -> list[Observed]:
    server = NameserverAddress(powerdns.address, powerdns.nameserver()["port"])

    async def all_at_once() -> list[Observed]:
        observer = Observer()
        return await asyncio.gather(*(observer.ask(server, *question, 5.0) for question in questions))

    return asyncio.run(all_at_once())


def wrong(powerdns: PowerDNS, questions: list[tuple[Name, str]]) -> list[str]:
    return [
        f"{name} {qtype}: expected {expected}, observed {observed}"
        for (name, qtype), observed in zip(questions, ask_all(powerdns, questions), strict=True)
        if agrees(observed, expected := answer(HELD, name, qtype), qtype) is not True
    ]


def test_every_answer_is_as_expected(powerdns: PowerDNS, backend: Backend) -> None:
    backend.create_zone(HELD)
    owners = {name for name, _ in HELD.rrsets}
    names = {Name(f"{label}{owner}") for owner in owners for label in ("", "x.", "y.x.")}
    questions = [(name, qtype) for name in sorted(names) for qtype in TYPES]
    endless = [question for question in questions if answer(HELD, *question).is_endless]
    assert wrong(powerdns, [question for question in questions if question not in endless]) == []
    # Of these it can't tell anything: they must not be asked.
    assert {observed.rcode for observed in ask_all(powerdns, endless)} == {"SERVFAIL"}
    assert is_gone(ask_all(powerdns, [(ZONE, "SOA")])[0], ZONE) is False


def test_a_cut_is_right_even_where_the_child_is_here_and_the_child_is_gone_when_it_is(
    powerdns: PowerDNS, backend: Backend
) -> None:
    backend.create_zone(HELD)
    backend.create_zone(contents(CHILD, "ns A 192.0.2.99"))
    questions = [(CHILD, "NS"), (Name(f"ns.{CHILD}"), "A"), (Name(f"x.{CHILD}"), "A")]
    assert wrong(powerdns, questions) == []
    assert is_gone(ask_all(powerdns, [(CHILD, "SOA")])[0], CHILD) is False
    backend.delete_zone(CHILD)
    assert is_gone(ask_all(powerdns, [(CHILD, "SOA")])[0], CHILD) is True
    assert wrong(powerdns, questions) == []
    backend.delete_zone(ZONE)
    assert is_gone(ask_all(powerdns, [(ZONE, "SOA")])[0], ZONE) is True
