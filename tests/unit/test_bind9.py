"""What the `bind9` backend makes of its options and of garbage on the wire. No I/O."""

from __future__ import annotations

import base64
import socket
import struct
from dataclasses import replace
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backends.bind9 import BACKEND
from backends.bind9.birth import NewZones
from backends.bind9.options import Bind9Options
from backends.bind9.rndc import CommandFailed, ControlChannel
from backends.bind9.zones import ConfiguredZones, file_name
from backends.dns_connection import DNSConnection
from backends.dns_tsig import TsigKey, Verifier
from backends.dns_update import update_message
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Busy,
    OutcomeUnknown,
    ServerFailure,
    Unreachable,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan, split
from dnsworker.records import SOA, RRset
from dnsworker.wire import Message

SECRET = base64.b64encode(b"a secret of some length, not short").decode()
VALID: dict[str, Any] = {
    "host": "192.0.2.53",
    "rndc_key_name": "rndc-key",
    "rndc_key_secret": SECRET,
    "tsig_key_name": "dnsworker",
    "tsig_key_secret": SECRET,
}


def options(**changes: Any) -> Bind9Options:
    return Bind9Options.model_validate({**VALID, **changes})


def test_the_control_host_is_the_nameserver_unless_given() -> None:
    assert options().control_host == "192.0.2.53"
    assert options(rndc_host="192.0.2.54").control_host == "192.0.2.54"


@pytest.mark.parametrize(
    "wrong",
    [
        {"rndc_key_secret": "not base64!"},
        {"tsig_key_secret": ""},
        {"tsig_key_algorithm": "hmac-sha265"},
        {"rndc_key_algorithm": "md4"},
        {"tsig_key_name": 'key"; }; options { recursion yes'},
        {"view": 'inside" { }'},
        {"zone_directory": 'zones"; evil "'},
        {"zone_statements": "also-notify { 192.0.2.1; }"},
        {"zone_statements": "also-notify { 192.0.2.1; ; "},
        {"allow_transfer": ["any; }; allow-update { any"]},
        {"transfer_host": "worker.example.org"},
        {"port": 0},
        {"hots": "192.0.2.1"},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_what_named_could_not_take_is_refused_when_loaded(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**wrong)
    assert SECRET not in str(caught.value)


def test_no_secret_shows_in_options() -> None:
    assert SECRET not in repr(options())
    assert SECRET not in repr(TsigKey("dnsworker", SECRET, "hmac-sha256"))


@pytest.mark.parametrize(
    ("zone", "stem"),
    [
        ("example.org.", "example.org"),
        ("0/25.2.0.192.in-addr.arpa.", "0%2f25.2.0.192.in-addr.arpa"),
        ("..%2fetc.", "..%252fetc"),
        ('a\\"b.test.', "a%5c%22b.test"),
    ],
)
def test_a_file_name_holds_nothing_that_leads_elsewhere(zone: str, stem: str) -> None:
    assert file_name(Name(zone)).startswith(f"{stem}.dnsworker-")


def test_long_names_that_begin_alike_have_files_of_their_own() -> None:
    beginning = ".".join(["a" * 63] * 3)
    first, second = (file_name(Name(f"{beginning}.{end}.")) for end in ("one", "two"))
    assert first.partition(".dnsworker-")[0] != second.partition(".dnsworker-")[0]
    assert max(len(first), len(second)) < 140


def test_no_two_attempts_share_a_file() -> None:
    assert file_name(Name("example.org.")) != file_name(Name("example.org."))


@given(st.binary(max_size=300))
def test_garbage_on_the_control_channel_is_an_error_of_ours(garbage: bytes) -> None:
    channel = ControlChannel("192.0.2.1", 953, key=b"key", algorithm="hmac-sha256", timeout_s=1)
    with pytest.raises((ServerFailure, AuthenticationFailed)):
        channel._verify(garbage)


@given(st.binary(max_size=40), st.binary(max_size=300))
def test_garbage_in_a_transfer_is_a_form_error(header: bytes, garbage: bytes) -> None:
    for wire in (garbage, struct.pack(">HHHHHH", 1, 0x8400, 0, 3, 0, 0) + header + garbage):
        try:
            list(Message(wire).records())
            Message(wire).tsig()
        except dns.exception.DNSException:
            continue


def test_compressed_names_are_read_like_dnspython_reads_them() -> None:
    texts = ["www", "a.www", "b.a.www", r"dot\.ted.www", "*.www", r"\000\255.www", "UPPER.www"]
    response = dns.message.make_response(dns.message.make_query("Example.Org.", "AXFR"))
    for text in texts:
        owner = dns.name.from_text(text, dns.name.from_text("Example.Org."))
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", f"{text}.Example.Org."))
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", "MX", f"10 {text}.Example.Org."))
    read = [(record.name, record.text) for record in Message(response.to_wire()).records()]
    expected = []
    for rrset in response.answer:
        one = RRset.from_rdataset(rrset.name, rrset)
        expected.append((one.name, one.data[0]))
    assert read == expected


def test_a_changed_octet_in_any_message_of_a_transfer_is_noticed() -> None:
    key = TsigKey("dnsworker", SECRET, "hmac-sha256")
    query = dns.message.make_query("example.org.", dns.rdatatype.AXFR)
    query.use_tsig(key.ring, key.key.name)
    query_wire = query.to_wire()
    received = dns.message.from_wire(query_wire, keyring=key.ring)
    wires, context = [], None
    for number in range(3):
        response = dns.message.make_response(received)
        response.answer.append(dns.rrset.from_text(f"h{number}.example.org.", 60, "IN", "A", "192.0.2.1"))
        wires.append(response.to_wire(multi=True, tsig_ctx=context))
        context = response.tsig_ctx
    assert query.mac is not None
    verifier = Verifier(key, "192.0.2.1:53", query.mac, is_transfer=True)
    assert [verifier.read(wire).answers for wire in wires] == [1, 1, 1]
    assert verifier.has_proven
    for changed in range(3):
        tampered = [
            wire.replace(b"\xc0\x00\x02\x01", b"\x0a\x00\x02\x01") if number == changed else wire
            for number, wire in enumerate(wires)
        ]
        verifier = Verifier(key, "192.0.2.1:53", query.mac, is_transfer=True)
        with pytest.raises(AuthenticationFailed):
            _ = [verifier.read(wire) for wire in tampered]


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NOTAUTH, dns.rcode.NXRRSET])
def test_what_would_be_acted_upon_is_believed_only_when_signed(rcode: dns.rcode.Rcode) -> None:
    """Anybody can say "I haven't got that zone"."""
    key = TsigKey("dnsworker", SECRET, "hmac-sha256")
    response = dns.message.make_response(dns.message.make_query("example.org.", dns.rdatatype.AXFR))
    response.set_rcode(rcode)
    with pytest.raises(AuthenticationFailed, match="unsigned"):
        Verifier(key, "192.0.2.1:53", b"mac", is_transfer=False).read(response.to_wire())


def _plan(*changes: RRsetChange) -> Plan:
    soa = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 7)
    return Plan(Name("example.org."), soa, soa.with_serial(8), changes)


def parsed(plan: Plan) -> dns.update.UpdateMessage:
    """The plan's message as dnspython reads it, record by record."""
    update = dns.message.from_wire(update_message(plan), one_rr_per_rrset=True)
    assert isinstance(update, dns.update.UpdateMessage)
    return update


def test_an_owner_loses_everything_before_it_gains_anything_and_the_soa_comes_last() -> None:
    www = "www.example.org."
    update = parsed(
        _plan(
            RRsetChange(None, RRset(www, "CNAME", 60, ["other.example.org."])),
            RRsetChange(RRset("a.example.org.", "A", 60, ["192.0.2.1"]), None),
            RRsetChange(RRset(www, "A", 60, ["192.0.2.1"]), None),
        )
    )
    order = [
        (rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype), rrset.deleting is not None)
        for rrset in update.update
    ]
    assert order.index((www, "A", True)) < order.index((www, "CNAME", False))
    assert order[-1] == ("example.org.", "SOA", False)
    assert len(update.prerequisite) == 1
    assert update.prerequisite[0].ttl == 0  # RFC 2136, section 2.4.2


def test_the_rrsets_that_change_are_required_as_they_were_and_nothing_else() -> None:
    """RFC 2136, sections 2.4.2 (with these values, TTL 0) and 2.4.3 (not there)."""
    addresses = RRset("www.example.org.", "A", 60, ["192.0.2.1", "192.0.2.2"])
    plan = _plan(
        RRsetChange(addresses, RRset("www.example.org.", "A", 60, ["192.0.2.3"])),
        RRsetChange(RRset("old.example.org.", "TXT", 60, ['"x"']), None),
        RRsetChange(None, RRset("new.example.org.", "AAAA", 60, ["2001:db8::1"])),
    )
    update = parsed(replace(plan, fence="rrsets"))
    assert [
        (
            rrset.name.to_text(),
            dns.rdatatype.to_text(rrset.rdtype),
            dns.rdataclass.to_text(rrset.deleting if rrset.deleting is not None else rrset.rdclass),
            rrset.ttl,
            [rdata.to_text() for rdata in rrset],
        )
        for rrset in update.prerequisite
    ] == [
        ("www.example.org.", "A", "IN", 0, ["192.0.2.1"]),
        ("www.example.org.", "A", "IN", 0, ["192.0.2.2"]),
        ("old.example.org.", "TXT", "IN", 0, ['"x"']),
        ("new.example.org.", "AAAA", "NONE", 0, []),
    ]
    assert list(map(str, update.update)) == list(map(str, parsed(plan).update))


def test_one_value_of_many_travels_alone_but_a_new_ttl_takes_all() -> None:
    values = [f"192.0.2.{number}" for number in range(200)]
    before = RRset("www.example.org.", "A", 60, values)
    one_less = parsed(_plan(RRsetChange(before, RRset("www.example.org.", "A", 60, values[1:]))))
    assert len(one_less.update) == 2  # the value and the SOA
    new_ttl = parsed(_plan(RRsetChange(before, RRset("www.example.org.", "A", 61, values[1:]))))
    assert len(new_ttl.update) == 1 + 199 + 1


def test_an_update_of_everything_is_no_longer_than_the_planner_counts_on() -> None:
    before = RRset("www.example.org.", "TXT", 60, [f'"before {number}"' for number in range(50)])
    after = RRset("www.example.org.", "TXT", 60, [f'"after {number}"' for number in range(50)])
    assert len(parsed(_plan(RRsetChange(before, after))).update) == 1 + 50 + 1


def test_a_long_value_goes_with_its_rrset_and_not_by_itself() -> None:
    """The planner counts nothing for what is deleted."""
    before = RRset("www.example.org.", "TXT", 60, ['"a"', " ".join(['"' + "x" * 255 + '"'] * 200)])
    after = RRset("www.example.org.", "TXT", 60, ['"a"', '"b"'])
    assert len(update_message(_plan(RRsetChange(before, after)))) < 1000


def test_what_the_planner_takes_for_a_message_fits_into_one() -> None:
    zone = Name(".".join(["z" * 63] * 3) + ".")
    soa = SOA(Name("ns1." + zone), Name("hostmaster." + zone), 7)
    changes = [RRsetChange(None, RRset(f"h{i}.{zone}", "A", 60, ["192.0.2.1"])) for i in range(1000)]
    parts = split(make_plan(zone, soa, soa.with_serial(100), changes), BACKEND.capabilities)
    key = TsigKey("k" * 63, SECRET, "hmac-sha512")
    sizes = [len(key.sign(update_message(part))[0]) for part in parts]
    assert len(sizes) > 1
    assert max(sizes) <= 65535


@pytest.mark.parametrize("kind", ["create", "replace", "remove"])
def test_what_a_plan_requires_fits_into_its_messages_as_well(kind: str) -> None:
    zone = Name(".".join(["z" * 63] * 3) + ".")
    soa = SOA(Name("ns1." + zone), Name("hostmaster." + zone), 7)
    here = [RRset(f"h{i}.{zone}", "A", 60, ["192.0.2.1", "192.0.2.2"]) for i in range(500)]
    there = [RRset(one.name, "A", 60, ["192.0.2.3"]) for one in here]
    changes = [
        RRsetChange(None if kind == "create" else before, None if kind == "remove" else after)
        for before, after in zip(here, there, strict=True)
    ]
    plan = replace(make_plan(zone, soa, soa.with_serial(100), changes), fence="rrsets")
    parts = split(plan, BACKEND.capabilities)
    key = TsigKey("k" * 63, SECRET, "hmac-sha512")
    assert len(parts) > 1
    assert max(len(key.sign(update_message(part))[0]) for part in parts) <= 65535


def test_apex_ns_are_added_before_single_ones_are_deleted() -> None:
    before = RRset("example.org.", "NS", 60, ["ns1.example.net.", "ns2.example.net."])
    after = RRset("example.org.", "NS", 60, ["ns2.example.net.", "ns3.example.net."])
    update = parsed(_plan(RRsetChange(before, after)))
    kinds = [rrset.deleting is not None for rrset in update.update]
    assert kinds == [False, False, True, False]  # two added, one deleted, the SOA
    assert update.update[2][0].to_text() == "ns1.example.net."


class StubControl:
    """Forgets the first orders to write, and writes while one more is answered with "already running"."""

    def __init__(self, forgets: float) -> None:
        self.forgets = forgets
        self.sent: list[str] = []

    def command(self, text: str) -> str:
        word = text.split()[0]
        self.sent.append(word)
        syncs = self.sent.count("sync")
        if word == "sync" and syncs == self.forgets + 2:
            raise CommandFailed("already running", "")
        if word == "addzone":  # how the file is looked for
            if syncs < self.forgets + 2:
                raise CommandFailed("file not found", "")
            raise CommandFailed("unexpected end of input", "dns_zone_loadnew failed: …")
        return ""


def new_zones(control: StubControl, timeout_s: float) -> NewZones:
    key = TsigKey("dnsworker", SECRET, "hmac-sha256")
    zones = ConfiguredZones(control, options(), lambda: None, timeout_s)  # type: ignore[arg-type]
    return NewZones(zones, control, options(), key, lambda: None, timeout_s)  # type: ignore[arg-type]


def test_a_zones_file_is_asked_for_again_while_named_has_not_written_it() -> None:
    control = StubControl(forgets=3)
    new_zones(control, 10.0)._wait_for_file(Name("example.org."), "example.org.db")
    assert control.sent == ["sync", "addzone"] * 5


def test_a_file_that_never_comes_is_said_and_suspects_no_record() -> None:
    control = StubControl(forgets=float("inf"))
    with pytest.raises(Busy, match="has written no"):
        new_zones(control, 0.01)._wait_for_file(Name("example.org."), "example.org.db")


SOA_7 = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 7)


class StubSocket:
    """Takes some octets, and then breaks off."""

    def settimeout(self, _seconds: float) -> None: ...
    def setsockopt(self, *_: int) -> None: ...
    def close(self) -> None: ...

    def sendall(self, _octets: bytes) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")


@pytest.mark.parametrize(("count", "outcome"), [(1, Unreachable), (2, OutcomeUnknown)])
def test_of_several_updates_that_break_off_the_first_ones_may_have_been_carried_out(
    monkeypatch: pytest.MonkeyPatch, count: int, outcome: type[BackendError]
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: StubSocket())
    connection = DNSConnection("192.0.2.53", 53, TsigKey("key", SECRET, "hmac-sha256"), timeout_s=1.0)
    plan = make_plan(Name("a.example."), SOA_7, SOA_7.with_serial(8), [])
    answers = connection.exchange_all([update_message(plan)] * count)
    assert [type(one) for one in answers] == [outcome] * count


def test_where_nobody_is_no_update_was_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    connection = DNSConnection("192.0.2.53", 53, TsigKey("key", SECRET, "hmac-sha256"), timeout_s=1.0)
    plan = make_plan(Name("a.example."), SOA_7, SOA_7.with_serial(8), [])
    assert [type(one) for one in connection.exchange_all([update_message(plan)] * 2)] == [Unreachable] * 2
