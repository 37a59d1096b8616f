"""Cases about what a zone can hold, and about changing it from anything to anything."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, OutcomeUnknown, RecordRejected, Unsupported
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import RRset
from dnsworker.testing.case import Case, needs
from dnsworker.testing.lab import SIGNER_TYPES, Lab, converge, edited, parts, rrset, whole_plan
from dnsworker.testing.samples import COMPANIONS, SAMPLES


class ContentsCases(Case):
    """Apply, then plan again: empty."""

    def test_after_applying_there_is_nothing_left_to_plan(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        www = rrset(zone.name, "www", "A", "192.0.2.1", "192.0.2.2")
        reached = lab.converge(edited(zone, www, rrset(zone.name, "@", "MX", "10 mx.example.net.")))
        current = lab.backend.read_zone(zone.name)
        assert current is not None
        assert parts(lab.capabilities, current, replace(reached, soa=current.soa)) == []

    def test_every_record_type_is_kept_or_refused_by_name(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        for sample in COMPANIONS:
            zone = lab.converge(edited(zone, sample.rrset(zone.name)))
        wrong: list[str] = []
        for sample in SAMPLES:
            if lab.capabilities.signs != "no" and sample.type in SIGNER_TYPES:
                continue
            wanted = sample.rrset(zone.name)
            allowed = lab.capabilities.types is None or sample.type in lab.capabilities.types
            try:
                reached = converge(lab.backend, edited(zone, wanted))
            except (RecordRejected, Unsupported) as exc:
                if (allowed and sample.type not in self.refused_types) or (
                    isinstance(exc, RecordRejected) and exc.rrset != wanted.key
                ):
                    wrong.append(f"{wanted}: {exc!r}")
                continue
            except (AssertionError, BackendError) as exc:
                wrong.append(f"{wanted}: {exc!r}")
                zone = _as_read(lab, zone)
                continue
            zone = lab.expected[zone.name] = reached
            found = lab.backend.read_rrsets(zone.name, [wanted.key]).get(wanted.key)
            if found != wanted:
                wrong.append(f"{wanted}: read alone it is {found}")
            if lab.server.can("query") and lab.server.settle_s == 0:
                served = lab.served(wanted.name, wanted.type)
                # At a cut the server refers; the RRset itself is the child's or not in the answer section.
                if served != wanted and sample.owner != "cut":
                    wrong.append(f"{wanted}: served as {served}")
        assert not wrong, "\n".join(wrong)

    def test_text_is_kept_to_the_octet(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        octets = "".join(f"\\{octet:03d}" for octet in range(256) if octet != 255)
        texts = (
            ['"plain"'],
            ['"\\"quoted\\"" "back\\\\slash" ";" "\\""'],
            [f'"{octets}"'],
            [f'"{"a" * 255}" "{"b" * 255}" "{"c" * 255}" "d"'],
            ['""'],
            ['"" ""'],
            ['"Case"', '"case"', '"CASE"'],
            ['"a" "b"', '"ab"', '"a b"', '" a"', '"a "'],
            ['"v=DKIM1; k=rsa; p=MIIB\\\\"', '"$VAR @ % {} <>&"'],
            ['"\\195\\164\\226\\130\\172"'],
        )
        for data in texts:
            zone = lab.converge(edited(zone, rrset(zone.name, "text", "TXT", *data)))

    def test_wildcards_and_apex_rrsets_are_like_others(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        zone = lab.converge(
            edited(
                zone,
                rrset(zone.name, "*", "A", "192.0.2.1"),
                rrset(zone.name, "*.sub", "TXT", '"wild"'),
                rrset(zone.name, "@", "A", "192.0.2.2"),
                rrset(zone.name, "@", "TXT", '"v=spf1 -all"'),
                rrset(zone.name, "@", "CAA", '0 issue ";"'),
            )
        )
        if lab.server.can("query"):
            below = rrset(zone.name, "any.thing", "A", "192.0.2.1")
            lab.assert_served(below.name, "A", below)
        zone = lab.converge(edited(zone, remove=[rrset(zone.name, "*", "A", "192.0.2.1").key]))
        lab.converge(edited(zone, remove=[rrset(zone.name, "@", "A", "192.0.2.2").key]))

    def test_addresses_become_an_alias_and_addresses_again(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        addresses = [
            rrset(zone.name, "www", "A", "192.0.2.1", "192.0.2.2"),
            rrset(zone.name, "www", "AAAA", "2001:db8::1"),
            rrset(zone.name, "www", "TXT", '"beside"'),
        ]
        alias = rrset(zone.name, "www", "CNAME", "elsewhere.example.net.")
        with_addresses = lab.converge(edited(zone, *addresses))
        with_alias = lab.converge(edited(with_addresses, alias, remove=[each.key for each in addresses]))
        if lab.server.can("query"):
            lab.assert_served(alias.name, "CNAME", alias)
        lab.converge(edited(with_alias, *addresses, remove=[alias.key]))

    def test_names_below_a_new_dname_go_with_it(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        below = [rrset(zone.name, "a.tree", "A", "192.0.2.1"), rrset(zone.name, "b.a.tree", "TXT", '"x"')]
        zone = lab.converge(edited(zone, *below))
        dname = rrset(zone.name, "tree", "DNAME", "elsewhere.example.net.")
        zone = lab.converge(edited(zone, dname, remove=[each.key for each in below]))
        lab.converge(edited(zone, *below, remove=[dname.key]))

    @needs(apex_ns=True)
    @pytest.mark.parametrize(
        "desired",
        [
            ["ns3.example.net.", "ns4.example.net."],
            ["ns2.example.net.", "ns3.example.net."],
            ["ns1.example.net."],
            ["ns9.example.net."],
        ],
    )
    def test_the_apex_ns_are_exchanged(self, lab: Lab, desired: list[str]) -> None:
        zone = lab.create(lab.zone())
        zone = lab.converge(edited(zone, rrset(zone.name, "@", "NS", *desired, ttl=3600)))
        lab.converge(edited(zone, rrset(zone.name, "@", "NS", *desired, "ns1.example.net.", ttl=60)))

    def test_a_ttl_changes_alone(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        for ttl in (300, 60, 0, 2**31 - 1):
            zone = lab.converge(edited(zone, rrset(zone.name, "www", "A", "192.0.2.1", "192.0.2.2", ttl=ttl)))
        lab.converge(edited(zone, rrset(zone.name, "@", "NS", "ns1.example.net.", "ns2.example.net.", ttl=7)))

    def test_only_the_soa_changes(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        zone = lab.converge(edited(zone))
        soa = replace(zone.soa.with_serial(zone.soa.serial + 1), refresh=7, minimum=11, ttl=13)
        zone = lab.converge(replace(zone, soa=soa))
        moved = replace(soa.with_serial(soa.serial + 1), mname=zone.name, rname=zone.soa.mname)
        lab.converge(replace(zone, soa=moved))

    def test_an_rrset_of_500_values_is_kept_or_its_refusal_changes_nothing(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        values = [f"10.0.{number // 250}.{number % 250}" for number in range(500)]
        large = rrset(zone.name, "large", "A", *values)
        desired = edited(zone, large, rrset(zone.name, "good", "A", "192.0.2.1"))
        if self.max_values is None or self.max_values >= len(values):
            zone = lab.converge(desired)
            zone = lab.converge(edited(zone, rrset(zone.name, "large", "A", *values[:499])))
            lab.converge(edited(zone, remove=[large.key]))
            return
        with pytest.raises(BackendError) as caught:
            lab.backend.apply(whole_plan(zone, desired))
        assert not isinstance(caught.value, OutcomeUnknown)
        if isinstance(caught.value, RecordRejected):
            assert caught.value.rrset in (large.key, None)
        lab.assert_holds(zone)
        # Which tells a refusal of the contents from a server that is ill.
        zone = lab.converge(edited(zone))
        lab.converge(edited(zone, rrset(zone.name, "large", "A", *values[: self.max_values])))

    def test_an_alias_beside_other_data_is_never_done_silently(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        address = rrset(zone.name, "www", "A", "192.0.2.1")
        zone = lab.converge(edited(zone, address))
        alias = rrset(zone.name, "www", "CNAME", "elsewhere.example.net.")
        desired = edited(zone, alias)
        refusal: BackendError | None = None
        try:
            lab.backend.apply(Plan(zone.name, zone.soa, desired.soa, (RRsetChange(None, alias),)))
        except BackendError as exc:
            refusal = exc
        assert not isinstance(refusal, OutcomeUnknown)
        assert getattr(refusal, "rrset", None) in (alias.key, None)
        # A server may ignore it and say yes (BIND, Knot): then reading back tells.
        found = lab.backend.read_rrsets(zone.name, [address.key, alias.key])
        assert found in ({address.key: address}, {alias.key: alias})
        now = lab.backend.read_zone(zone.name)
        assert now is not None
        lab.converge(replace(zone, soa=now.soa))

    def test_odd_owner_names_are_kept_or_refused_by_name(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        plain = ("_under._score", "UPPER", "0", "-", "xn--bcher-kva")
        for owner in (*plain, "a/b", "a\\.dot", "b\\032lank", "c\\064d", "\\200"):
            wanted = rrset(zone.name, owner, "A", "192.0.2.1")
            refusal: RecordRejected | None = None
            try:
                zone = lab.converge(edited(zone, wanted))
            except RecordRejected as exc:
                refusal = exc
                lab.assert_holds(zone)
            assert refusal is None or (refusal.rrset == wanted.key and owner not in plain)

    def test_random_changes_converge(self, lab: Lab) -> None:
        rng = random.Random(2811)  # noqa: S311 - a seed, so that a failure can be repeated
        zone = lab.create(lab.zone())
        for _ in range(25):
            zone = lab.converge(_mutated(zone, rng))


def _as_read(lab: Lab, zone: ZoneContents) -> ZoneContents:
    found = lab.backend.read_zone(zone.name)
    assert found is not None
    lab.expected[zone.name] = found
    return found


def _mutated(zone: ZoneContents, rng: random.Random) -> ZoneContents:
    """A few owners get other RRsets: a CNAME alone, or several types, or nothing."""
    put: list[RRset] = []
    removed = set()
    for number in rng.sample(range(8), k=3):
        owner = f"n{number}" if number < 4 else f"n{number}.n{number - 4}"
        removed |= {key for key in zone.rrsets if key[0] == f"{owner}.{zone.name}"}
        match rng.randrange(4):
            case 0:
                put.append(rrset(zone.name, owner, "CNAME", f"t{rng.randrange(3)}.example.net."))
            case 1 | 2:
                addresses = [f"192.0.2.{rng.randrange(256)}" for _ in range(rng.randrange(1, 5))]
                put.append(rrset(zone.name, owner, "A", *addresses, ttl=rng.choice((60, 300))))
                put.append(rrset(zone.name, owner, "TXT", f'"{rng.random()}"'))
    return edited(zone, *put, remove=removed)
