"""octoDNS providers as targets: one that nothing is known of, texts on real servers, HTTP that fails."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dns.message
import dns.query
import pytest
from octodns.record import Create, Delete, Rrset, Update
from requests import ReadTimeout, Session
from requests.adapters import HTTPAdapter, Retry

from backends.bind9 import BACKEND as BIND9
from backends.octodns import BACKEND
from backends.octodns.clients import Watch
from dev.servers import Bind, PowerDNS
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    Busy,
    ClaimLost,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset
from tests.integration.test_powerdns_failures import StubApi
from tests.octodns_providers import MEMORY, MemoryProvider

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

ZONE = Name("example.org.")
SOA_1 = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)
NS = RRset(ZONE, "NS", 3600, ["ns1.example.net."])
KEY = "an-api-key-that-nobody-may-see"


def target(cls: str, more: dict[str, Any] | None = None, **kwargs: Any) -> Backend:
    options = {"class": cls, "kwargs": kwargs, **(more or {})}
    return BACKEND("test", BACKEND.options_model.model_validate(options), timeout_s=5)


def rrset(owner: str, type_: str, *data: str, ttl: int = 300) -> RRset:
    return RRset(f"{owner}.{ZONE}", type_, ttl, data)


def plan(*changes: tuple[RRset | None, RRset | None], zone: Name = ZONE) -> Plan:
    return make_plan(zone, SOA_1, SOA_1.with_serial(2), [RRsetChange(*change) for change in changes])


def contents(*rrsets: RRset) -> ZoneContents:
    return ZoneContents.of(ZONE, SOA_1, [NS, *rrsets])


# --- a provider that nothing is known of -----------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[Backend]:
    MemoryProvider.accounts.clear()
    MemoryProvider.made.clear()
    MemoryProvider.applied.clear()
    yield target(MEMORY, account="a", token="token-in-memory")
    MemoryProvider.failure = None


def stored() -> dict[tuple[str, str], Any]:
    return MemoryProvider.accounts["a"][ZONE]


def test_its_zone_is_made_changed_and_read(memory: Backend) -> None:
    assert memory.read_zone(ZONE) is None
    www, mail = rrset("www", "A", "192.0.2.1"), rrset("mail", "TXT", '"a;b"')
    memory.create_zone(contents(www, mail))
    found = memory.read_zone(ZONE)
    assert found is not None
    assert {key: each for key, each in found.rrsets.items() if key != NS.key} == {
        www.key: www,
        mail.key: mail,
    }
    new = rrset("www", "A", "192.0.2.2", ttl=60)
    receipt = memory.apply(plan((www, new), (mail, None), (None, rrset("more", "AAAA", "2001:db8::1"))))
    assert receipt.soa == SOA_1.with_serial(2)
    assert memory.read_rrsets(ZONE, [new.key, mail.key]) == {new.key: new}


def test_every_call_has_a_provider_of_its_own(memory: Backend) -> None:
    """It remembers what it has read; somebody else's change would never be seen."""
    memory.create_zone(contents())
    stored()["hand.example.org.", "A"] = Rrset("hand.example.org.", "A", 60, ["192.0.2.9"])
    found = memory.read_zone(ZONE)
    assert found is not None
    assert (Name("hand.example.org."), "A") in found.rrsets
    assert len(set(map(id, MemoryProvider.made))) == len(MemoryProvider.made) >= 4


def test_where_nobody_sees_its_requests_each_provider_counts_as_one(memory: Backend) -> None:
    announced: list[str] = []
    memory.checkpoint = lambda: announced.append("another")
    memory.create_zone(contents(rrset("www", "A", "192.0.2.1")))
    assert 1 + len(announced) == len(MemoryProvider.made) >= 3


def test_what_is_sent_follows_from_what_is_there_and_not_from_what_we_believe(memory: Backend) -> None:
    """Its API refuses to delete what is absent. So a plan may be repeated."""
    www, gone, new = (
        rrset("www", "A", "192.0.2.1"),
        rrset("gone", "A", "192.0.2.1"),
        rrset("new", "A", "1.1.1.1"),
    )
    memory.create_zone(contents(www, gone))
    del stored()["gone.example.org.", "A"]
    stored()["new.example.org.", "A"] = Rrset("new.example.org.", "A", 60, ["192.0.2.9"])
    change = plan((gone, None), (None, new), (www, www), (None, rrset("other", "A", "192.0.2.3")))
    memory.apply(change)
    kinds = {each.record.fqdn: type(each) for each in MemoryProvider.applied[-1].changes}
    assert kinds == {"new.example.org.": Update, "other.example.org.": Create}
    count = len(MemoryProvider.applied)
    memory.apply(change)
    assert len(MemoryProvider.applied) == count, "nothing was left to send"


def test_its_own_apex_ns_and_types_stay(memory: Backend) -> None:
    """It says SUPPORTS_ROOT_NS = False, and ALIAS is no type of the DNS."""
    memory.create_zone(contents())
    stored()["alias.example.org.", "ALIAS"] = Rrset("alias.example.org.", "ALIAS", 60, ["www.example.net."])
    memory.create_zone(contents(rrset("www", "A", "192.0.2.1")))
    memory.apply(plan((NS, RRset(ZONE, "NS", 60, ["ns2.example.net."]))))
    assert stored()[ZONE, "NS"].rdatas == ["ns.memory.example."]
    assert ("alias.example.org.", "ALIAS") in stored()
    found = memory.read_zone(ZONE)
    assert found is not None
    assert {type_ for _, type_ in found.rrsets} == {"NS", "A"}


def test_nothing_is_written_to_a_zone_that_is_gone(memory: Backend) -> None:
    """A provider would take it for one to be made, with nothing but the change in it."""
    with pytest.raises(ZoneMissing):
        memory.apply(plan((None, rrset("www", "A", "192.0.2.1"))))
    with pytest.raises(ZoneMissing):
        memory.apply(plan())
    assert MemoryProvider.accounts["a"] == {}


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (rrset("x", "DNAME", "example.net."), "MemoryProvider can't hold records of type DNAME"),
        (rrset("x", "TXT", '"two" "strings"'), "octoDNS would make"),
    ],
)
def test_what_it_cant_hold_is_refused_before_anything_is_sent(
    memory: Backend, refused: RRset, words: str
) -> None:
    memory.create_zone(contents())
    count = len(MemoryProvider.applied)
    with pytest.raises(RecordRejected, match=words) as caught:
        memory.apply(plan((None, rrset("www", "A", "192.0.2.1")), (None, refused)))
    assert caught.value.rrset == refused.key
    assert len(MemoryProvider.applied) == count


def test_what_the_provider_would_weaken_is_refused(memory: Backend) -> None:
    """Of a PTR with two values it would keep one, if it weren't told to be strict."""
    memory.create_zone(contents())
    with pytest.raises(Unsupported, match="multi-value PTR"):
        memory.apply(plan((None, rrset("x", "PTR", "a.example.net.", "b.example.net."))))


def test_a_zone_is_left_as_it_is_where_deleting_it_isnt_known(memory: Backend) -> None:
    memory.delete_zone(ZONE)
    memory.create_zone(contents(rrset("www", "A", "192.0.2.1")))
    before = dict(stored())
    with pytest.raises(Unsupported, match=r"delete example\.org\. at the provider"):
        memory.delete_zone(ZONE)
    assert stored() == before
    del MemoryProvider.accounts["a"][ZONE]
    memory.delete_zone(ZONE)


def test_a_large_creation_goes_in_parts(memory: Backend) -> None:
    small = target(MEMORY, {"max_batch": 10}, account="a", token="token-in-memory")
    many = [rrset(f"h{number}", "A", "192.0.2.1") for number in range(35)]
    small.create_zone(contents(*many))
    assert [len(each.changes) for each in MemoryProvider.applied] == [9, 9, 10, 7]
    assert not MemoryProvider.applied[0].exists
    assert all(each.exists for each in MemoryProvider.applied[1:])
    found = small.read_zone(ZONE)
    assert found is not None
    assert len(found.rrsets) == 36


def test_a_wrong_token_is_named_and_not_shown() -> None:
    wrong = target(MEMORY, account="a", token="wrong-token-in-memory")
    with pytest.raises(AuthenticationFailed, match=r"MemoryUnauthorized: the token \*{8} is") as caught:
        wrong.read_zone(ZONE)
    shown = [str(caught.value), repr(caught.value), repr(caught.value.__cause__), wrong.check().message]
    assert not [text for text in shown if "wrong-token" in text]
    assert not wrong.check().ok


def test_an_error_of_its_own_keeps_its_words(memory: Backend) -> None:
    memory.create_zone(contents())
    MemoryProvider.failure = RuntimeError("the cloud is full of token-in-memory\nand more")
    with pytest.raises(ServerFailure) as caught:
        memory.apply(plan((None, rrset("www", "A", "192.0.2.1"))))
    assert caught.value.message == "RuntimeError: the cloud is full of ********"


def test_arguments_that_the_constructor_refuses_are_the_operators_matter() -> None:
    wrong = target("octodns_powerdns.PowerDnsProvider", host="h", api_key=KEY, soa_edit_api="sometimes")
    with pytest.raises(Permanent, match="doesn't take these kwargs: invalid soa_edit_api") as caught:
        wrong.read_zone(ZONE)
    assert type(caught.value) is Permanent


def test_check_says_which_package_answers(memory: Backend, powerdns: PowerDNS) -> None:
    health = on_powerdns(powerdns).check()
    assert health.ok
    assert "octodns-powerdns 1." in health.message
    assert memory.check().ok


# --- texts on real servers: kept to the octet, or refused -------------------------------------------------

TEXTS = {
    '"v=DKIM1; k=rsa; p=MIIB"': True,
    f'"{"k" * 255}" "{"l" * 120}"': True,
    f'"{"k" * 255}" "{"l" * 255}" "m"': True,
    '""': True,
    '" blanks  around "': True,
    '"%$@{}<>&\'"': True,
    '"a" "b"': False,
    '"\\"quoted\\""': None,
    '"back\\\\slash"': None,
    '"\\195\\164"': None,
    '"tab\\009"': None,
    f'"{"k;" * 127}k" "{";" * 20}"': None,
}


def on_powerdns(server: PowerDNS, **kwargs: Any) -> Backend:
    given = {"host": server.address, "port": server.api_port, "api_key": server.api_key, **kwargs}
    return target("octodns_powerdns.PowerDnsProvider", **given)


def on_bind(server: Bind) -> Backend:
    return target(
        "octodns_bind.Rfc2136Provider",
        host=server.address, port=server.port, key_name=server.key_name, key_secret=server.key_secret,
        key_algorithm="hmac-sha256",
    )  # fmt: skip


def check_texts(backend: Backend, zone: Name, address: str, port: int) -> None:
    for number, (text, is_kept) in enumerate(TEXTS.items()):
        wanted = RRset(f"t{number}.{zone}", "TXT", 60, [text])
        refusal = None
        try:
            backend.apply(plan((None, wanted), zone=zone))
        except RecordRejected as exc:
            refusal = exc
        if refusal is not None:
            assert refusal.rrset == wanted.key
            assert not is_kept, text
            continue
        assert is_kept is not False, text
        answer = dns.query.tcp(dns.message.make_query(wanted.name, "TXT"), address, port=port, timeout=30)
        assert RRset.from_rdataset(wanted.name, answer.answer[0]) == wanted
        assert backend.read_rrsets(zone, [wanted.key]) == {wanted.key: wanted}


def test_texts_on_powerdns(powerdns: PowerDNS) -> None:
    backend, zone = on_powerdns(powerdns), Name("texts.octodns.example.")
    backend.create_zone(ZoneContents.of(zone, SOA_1, [RRset(zone, "NS", 60, ["ns1.example.net."])]))
    check_texts(backend, zone, powerdns.address, powerdns.port)
    backend.delete_zone(zone)
    assert backend.read_zone(zone) is None


def test_texts_on_bind(bind: Bind) -> None:
    zone = Name("texts.octodns.example.")
    operator = BIND9("operator", BIND9.options_model.model_validate(bind.target_options()))
    operator.create_zone(ZoneContents.of(zone, SOA_1, [RRset(zone, "NS", 60, ["ns1.example.net."])]))
    check_texts(on_bind(bind), zone, bind.address, bind.port)
    operator.delete_zone(zone)
    operator.close()


def test_a_zone_that_octodns_bind_cant_make_is_asked_for(bind: Bind) -> None:
    backend = on_bind(bind)
    zone = Name("absent.octodns.example.")
    assert not backend.capabilities.creates_zones
    with pytest.raises(ZoneMissing, match="make it on the server"):
        backend.create_zone(ZoneContents.of(zone, SOA_1, [RRset(zone, "NS", 60, ["ns1.example.net."])]))
    backend.delete_zone(zone)


def test_a_tsig_key_of_another_name_is_named(bind: Bind) -> None:
    stranger = target(
        "octodns_bind.Rfc2136Provider",
        host=bind.address, port=bind.port, key_name="stranger", key_secret=bind.key_secret,
        key_algorithm="hmac-sha256",
    )  # fmt: skip
    with pytest.raises(AuthenticationFailed, match="TSIG key"):
        stranger.read_zone(ZONE)


# --- HTTP that fails ------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[StubApi]:
    stub = StubApi()
    ns = {"name": ZONE, "type": "NS", "ttl": 60, "records": [{"content": "ns1.example.net."}]}
    stub.answers["GET"] = (200, {}, json.dumps({"rrsets": [ns], "version": "4.7.3"}).encode())
    stub.answers["PATCH"] = (204, {}, b"")
    yield stub
    stub.close()


def at(api: StubApi, **more: Any) -> Backend:
    host, port = api.url.removeprefix("http://").split(":")
    return target("octodns_powerdns.PowerDnsProvider", more, host=host, port=int(port), api_key=KEY)


WRITE = plan((None, rrset("www", "A", "192.0.2.1")))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RecordRejected), (401, AuthenticationFailed), (403, AuthenticationFailed),
        (413, RecordRejected),
        (422, RecordRejected), (429, RateLimited), (500, Busy), (503, Busy), (502, OutcomeUnknown),
        (504, OutcomeUnknown), (418, ServerFailure),
    ],
)  # fmt: skip
def test_each_status_of_a_write_has_its_error(api: StubApi, status: int, error: type[Exception]) -> None:
    api.answers["PATCH"] = (status, {"Retry-After": "7"}, b'{"error": "words of the server"}')
    with pytest.raises(error, match="words of the server") as caught:
        at(api).apply(WRITE)
    assert type(caught.value) is error
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationFailed), (404, ServerFailure), (422, ServerFailure), (503, Busy)],
)
def test_no_status_of_a_read_counts_as_absent(api: StubApi, status: int, error: type[Exception]) -> None:
    """A 404 neither, as long as the server itself is answered with it: that is a wrong server_id."""
    api.answers["GET"] = (status, {}, b'{"error": "words of the server"}')
    with pytest.raises(error) as caught:
        at(api).read_zone(ZONE)
    assert type(caught.value) is error


def test_no_status_before_a_write_counts_as_absent(api: StubApi) -> None:
    api.answers["GET"] = (404, {}, b"Not Found")
    for call in (lambda: at(api).apply(WRITE), lambda: at(api).delete_zone(ZONE)):
        with pytest.raises(ServerFailure, match="404"):
            call()
    assert {each.split()[0] for each in api.seen} == {"GET"}


def test_a_request_that_a_provider_doesnt_bound_is_bounded(api: StubApi) -> None:
    """Found where it lies: in a client within the provider."""

    def say_nothing(handler: Any) -> None:
        api.released.wait(15)
        handler.close_connection = True

    api.answers["GET"] = say_nothing
    session = Session()
    provider = types.SimpleNamespace(_client=types.SimpleNamespace(_sess=session))
    watch = Watch(0.3, 0.3, lambda: None)
    watch.attach(provider)
    with pytest.raises(ReadTimeout):
        session.get(api.url)
    watch.close()


def test_an_answer_that_doesnt_come_is_bounded(api: StubApi) -> None:
    def hang(handler: Any) -> None:
        api.released.wait(60)

    backend = at(api, request_timeout_s=0.3)
    api.answers["PATCH"] = hang
    with pytest.raises(OutcomeUnknown, match="timed out"):
        backend.apply(WRITE)
    api.answers["GET"] = hang
    with pytest.raises(Unreachable, match="timed out"):
        backend.read_zone(ZONE)
    # Before the write nothing has been sent that changes anything.
    with pytest.raises(Unreachable, match="timed out"):
        backend.apply(WRITE)


def test_a_redirected_write_is_no_success(api: StubApi) -> None:
    api.answers["PATCH"] = (301, {"Location": f"{api.url}/elsewhere"}, b"")
    with pytest.raises(ServerFailure, match="301, a redirection"):
        at(api).apply(WRITE)
    assert [each.split()[0] for each in api.seen] == ["GET", "PATCH"]


def test_an_answer_that_is_cut_off_is_no_answer(api: StubApi) -> None:
    def cut(handler: Any) -> None:
        handler.close_connection = True

    api.answers["PATCH"] = cut
    with pytest.raises(OutcomeUnknown):
        at(api).apply(WRITE)


def test_a_claim_that_is_lost_ends_the_providers_own_requests(api: StubApi) -> None:
    """Between its first request, which looks for the zone, and the second, which writes."""
    backend = at(api)

    def lose() -> None:
        raise ClaimLost

    backend.checkpoint = lose
    with pytest.raises(ClaimLost):
        backend.apply(WRITE)
    assert [each.split()[0] for each in api.seen] == ["GET"]


def test_a_providers_own_retries_are_turned_off(api: StubApi) -> None:
    """Ours decide, and know of other workers."""
    from octodns_powerdns import PowerDnsProvider

    provider = PowerDnsProvider("one", "127.0.0.1", KEY, port=int(api.url.rpartition(":")[2]))
    retry = Retry(total=5, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
    provider._sess.mount("http://", HTTPAdapter(max_retries=retry))
    api.answers["GET"] = (503, {}, b"")
    watch = Watch(1, 1, lambda: None)
    watch.attach(provider)
    assert watch.sees_requests
    with pytest.raises(Exception, match="503"):
        provider.list_zones()
    watch.close()
    assert len(api.seen) == 1


def test_connections_are_given_up(api: StubApi, recwarn: pytest.WarningsRecorder) -> None:
    closed: list[Any] = []
    backend = at(api)
    original: Callable[..., None] = Watch.close

    def close(watch: Watch) -> None:
        closed.append(watch.sees_requests)
        original(watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "close", close)
        backend.read_zone(ZONE)
        api.answers["GET"] = (503, {}, b"")
        with pytest.raises(Busy):
            backend.read_zone(ZONE)
    assert closed == [True, True]


def test_the_soa_is_a_stand_in(api: StubApi) -> None:
    """Below every serial that we give, so that it is never taken for one that is ahead."""
    found = at(api).read_soa(ZONE)
    assert found is not None
    assert found.serial == 1
    assert replace(found, serial=2) != SOA_1.with_serial(2)


def test_a_deletion_is_sent_as_one(memory: Backend) -> None:
    www = rrset("www", "A", "192.0.2.1")
    memory.create_zone(contents(www))
    memory.apply(plan((www, None)))
    assert [type(each) for each in MemoryProvider.applied[-1].changes] == [Delete]
    assert www.key not in stored()
