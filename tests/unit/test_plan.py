"""Collapsing, ordering, splitting and guarding: pure functions of values."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker import plan
from dnsworker.capabilities import Capabilities
from dnsworker.errors import UnsafeChange
from dnsworker.names import Name
from dnsworker.plan import RRsetChange, SerialsTooClose
from dnsworker.records import SOA, Key, RRset

ZONE = Name("example.org.")


def soa(serial: int) -> SOA:
    return SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)


def a(name: str, *values: int, ttl: int = 60) -> RRset:
    return RRset(f"{name}.example.org.", "A", ttl, [f"192.0.2.{value}" for value in values or (1,)])


def cname(name: str, target: str = "t.example.org.") -> RRset:
    return RRset(f"{name}.example.org.", "CNAME", 60, [target])


@st.composite
def journals(draw: st.DrawFn) -> list[RRsetChange]:
    """Edits of a few RRsets, each starting where the last one ended."""
    state: dict[Key, RRset | None] = {}
    changes = []
    for name, value in draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30)):
        after = a(name, value) if value else None
        key = (Name(f"{name}.example.org."), "A")
        before = state.get(key)
        if before != after:
            changes.append(RRsetChange(before, after))
            state[key] = after
    return changes


def played(changes: list[RRsetChange]) -> dict[Key, RRset | None]:
    state: dict[Key, RRset | None] = {}
    for change in changes:
        state[change.key] = change.after
    return state


@given(journals())
def test_collapsed_changes_come_to_the_same(changes: list[RRsetChange]) -> None:
    collapsed = plan.collapse_changes(changes)
    assert len({change.key for change in collapsed}) == len(collapsed)
    first = {change.key: change.before for change in reversed(changes)}
    assert all(change.before == first[change.key] for change in collapsed)
    ends = played(changes)
    untouched = {key for key in ends if ends[key] == first[key]}
    assert played(collapsed) == {key: value for key, value in ends.items() if key not in untouched}


def test_removals_come_before_additions_of_the_same_owner() -> None:
    made = plan.make_plan(
        ZONE,
        soa(1),
        soa(2),
        [RRsetChange(None, cname("www")), RRsetChange(a("www"), None), RRsetChange(None, a("b"))],
    )
    owners = [(change.key, change.is_removal) for change in made.changes if change.key[0].startswith("www")]
    assert [is_removal for _, is_removal in owners] == [True, False]


def test_names_below_a_new_dname_go_first() -> None:
    dname = RRset("d.example.org.", "DNAME", 60, ["elsewhere.net."])
    made = plan.make_plan(ZONE, soa(1), soa(2), [RRsetChange(None, dname), RRsetChange(a("x.d"), None)])
    assert [change.is_removal for change in made.changes] == [True, False]


@given(journals(), st.randoms())
def test_the_same_changes_always_give_the_same_plan(changes: list[RRsetChange], rng: random.Random) -> None:
    collapsed = plan.collapse_changes(changes)
    shuffled = rng.sample(collapsed, len(collapsed))
    assert plan.make_plan(ZONE, soa(1), soa(2), collapsed) == plan.make_plan(ZONE, soa(1), soa(2), shuffled)


@given(count=st.integers(0, 60), batch=st.integers(1, 20), start=st.sampled_from([1, 2**32 - 5, 2**31 - 3]))
def test_every_part_has_a_serial_of_its_own_and_all_changes_are_there_once(
    count: int, batch: int, start: int
) -> None:
    end = (start + 100) % 2**32
    changes = [RRsetChange(None, a(f"h{number}")) for number in range(count)]
    whole = plan.make_plan(ZONE, soa(start), soa(end), changes)
    parts = plan.split(whole, Capabilities(max_batch=batch))
    assert [change for part in parts for change in part.changes] == list(whole.changes)
    assert all(len(part.changes) <= batch for part in parts)
    assert parts[0].current_soa == soa(start)
    assert parts[-1].desired_soa == soa(end)
    for before, after in itertools.pairwise(parts):
        assert before.desired_soa == after.current_soa
    serials = [start, *(part.desired_soa.serial for part in parts)]
    assert 0 not in serials
    assert all(0 < (after - before) % 2**32 < 2**31 for before, after in itertools.pairwise(serials))


def test_one_owner_is_never_spread_over_two_parts() -> None:
    changes = [RRsetChange(a("www"), None), RRsetChange(None, cname("www")), *(
        RRsetChange(None, a(f"h{number}")) for number in range(5)
    )]  # fmt: skip
    parts = plan.split(plan.make_plan(ZONE, soa(1), soa(99), changes), Capabilities(max_batch=2))
    owners = [{change.key[0] for change in part.changes} for part in parts]
    assert sum(len(one) for one in owners) == len(set().union(*owners))


def test_parts_stay_below_the_message_size() -> None:
    changes = [
        RRsetChange(None, RRset(f"t{number}.example.org.", "TXT", 60, [f'"{"x" * 250}"']))
        for number in range(100)
    ]
    parts = plan.split(plan.make_plan(ZONE, soa(1), soa(99), changes), Capabilities(max_message_bytes=3000))
    for part in parts:
        wire = sum(
            len(change.key[0]) + 11 + 251 for change in part.changes
        )  # owner, fixed fields, one character string
        assert wire <= 3000
    assert len(parts) > 8


def test_parts_stay_below_the_records_that_they_remove_and_add() -> None:
    changes = [RRsetChange(a(f"h{number}", 1, 2), a(f"h{number}", 3)) for number in range(10)]
    whole = plan.make_plan(ZONE, soa(1), soa(99), changes)
    parts = plan.split(whole, Capabilities(max_records=9))
    assert [len(part.changes) for part in parts] == [3, 3, 3, 1]
    assert [len(part.changes) for part in plan.split(whole, Capabilities(max_records=30))] == [10]


def test_parts_stay_below_the_characters_that_they_remove_and_add() -> None:
    changes = [RRsetChange(a(f"h{number}", 1), a(f"h{number}", 2)) for number in range(4)]  # 9 and 9 each
    whole = plan.make_plan(ZONE, soa(1), soa(99), changes)
    assert [len(part.changes) for part in plan.split(whole, Capabilities(max_characters=36))] == [2, 2]
    assert [len(part.changes) for part in plan.split(whole, Capabilities(max_characters=35))] == [1, 1, 1, 1]


def test_too_few_serials_for_the_parts_is_said() -> None:
    changes = [RRsetChange(None, a(f"h{number}")) for number in range(9)]
    with pytest.raises(SerialsTooClose) as caught:
        plan.split(plan.make_plan(ZONE, soa(1), soa(3), changes), Capabilities(max_batch=1))
    assert caught.value.parts == 9


def test_a_large_jump_is_walked_without_changes_first() -> None:
    whole = plan.make_plan(ZONE, soa(1), soa(2**31), [RRsetChange(None, a("www"))])
    parts = plan.split(whole, Capabilities())
    assert [len(part.changes) for part in parts] == [0] * (len(parts) - 1) + [1]
    assert len(parts) >= 2


@pytest.mark.parametrize(
    ("removed", "existing", "refused"), [(9, 10, False), (10, 10, True), (10, 100, False)]
)
def test_the_guard_counts_from_a_minimum(removed: int, existing: int, refused: bool) -> None:
    changes = [RRsetChange(a(f"h{number}"), None) for number in range(removed)]
    if not refused:
        plan.raise_if_unsafe(changes, existing=existing, share=0.3, minimum=10, zone=ZONE)
        return
    with pytest.raises(UnsafeChange, match=f"removes {removed} of the {existing} RRsets .* more than 30%"):
        plan.raise_if_unsafe(changes, existing=existing, share=0.3, minimum=10, zone=ZONE)


def test_the_guard_protects_the_apex_ns() -> None:
    ns = RRset(ZONE, "NS", 60, ["ns1.example.net."])
    other = RRset(ZONE, "NS", 60, ["ns2.example.net."])
    with pytest.raises(UnsafeChange, match=r"NS records of example\.org\. itself"):
        plan.raise_if_unsafe([RRsetChange(ns, other)], existing=5, share=0.3, minimum=10, zone=ZONE)


# --- beside others ------------------------------------------------------------------------------------------


def beside_others(changes: list[RRsetChange], *, start: int = 100, end: int = 101) -> plan.Plan:
    return replace(plan.make_plan(ZONE, soa(start), soa(end), changes), fence="rrsets")


def test_parts_beside_others_need_no_serial_of_their_own() -> None:
    changes = [RRsetChange(a(f"h{number}", 1), a(f"h{number}", 2)) for number in range(10)]
    whole = beside_others(changes)
    parts = plan.split(whole, Capabilities(max_batch=3))
    assert [len(part.changes) for part in parts] == [3, 3, 3, 1]
    assert {(part.fence, part.current_soa, part.desired_soa) for part in parts} == {
        ("rrsets", whole.current_soa, whole.desired_soa)
    }


def test_what_a_part_requires_counts_against_its_size() -> None:
    changes = [RRsetChange(a(f"h{number}", *range(100)), None) for number in range(10)]
    limits = Capabilities(max_message_bytes=10_000)
    assert len(plan.split(plan.make_plan(ZONE, soa(100), soa(101), changes), limits)) == 1
    assert len(plan.split(beside_others(changes), limits)) == 5


def test_a_part_beside_others_is_a_message_also_where_plans_have_no_limit() -> None:
    changes = [RRsetChange(a(f"h{number}", *range(100)), None) for number in range(40)]
    assert len(plan.split(beside_others(changes), Capabilities())) > 1


def test_what_is_too_large_to_be_required_is_fenced_by_the_soa() -> None:
    large = RRsetChange(a("large", *range(200)), a("large", *range(1, 201)))
    changes = [large, RRsetChange(None, a("small"))]
    (part,) = plan.split(beside_others(changes), Capabilities(max_message_bytes=10_000))
    assert (part.fence, len(part.changes)) == ("soa", 2)


def test_a_long_way_of_the_serial_is_walked_with_the_soa_for_a_fence() -> None:
    parts = plan.split(beside_others([RRsetChange(None, a("new"))], end=100 + 2**31 - 1), Capabilities())
    assert {part.fence for part in parts} == {"soa"}
    assert len(parts) > 1
