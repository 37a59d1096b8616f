"""Who may do what: the rules of all users, and the judgement of one request. Pure, and safe to share.

Refusals win, so the order of rules doesn't matter. A user who is named may do what rules allow; `default` is
for those who aren't. A message without a user is nobody's: that is never better than to be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from dnsworker import names
from dnsworker.errors import Forbidden
from dnsworker.names import Name, shown
from dnsworker.permissions.demand import READ, Demand, demand_of_question, demands_of, reads_of_dry_run
from dnsworker.permissions.rule import Rule
from dnsworker.requests.questions import ZoneQuery
from dnsworker.requests.request import Request

ANONYMOUS, EVERYBODY = "anonymous", "everybody"
Default = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule, and where it stands."""

    rule: Rule
    #: The user, `anonymous` or `everybody`; the how manieth of theirs, from 1; the line in the file.
    whose: str
    number: int
    line: int

    def __str__(self) -> str:
        return f"rule {self.number} of {shown(self.whose)} (line {self.line}): {self.rule}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one demand: by which rule, or for the lack of one (None)."""

    demand: Demand
    is_allowed: bool
    by: Placed | None
    #: In words, where no rule decides it.
    because: str = ""

    @property
    def reason(self) -> str:
        """For whoever asks why. Made when it is asked for: nobody asks of what is allowed."""
        return self.because if self.by is None else str(self.by)


class _Book:
    """The rules that hold for one user, found by zone."""

    def __init__(self, rules: Sequence[Placed], *, is_open: bool, lack: str) -> None:
        """`is_open`: what no rule refuses is allowed. `lack`: what to say where no rule allows it."""
        self.rules, self.is_open, self.lack = rules, is_open, lack
        self._exact: dict[Name, list[int]] = {}
        self._below: dict[Name, list[int]] = {}
        self._others: list[int] = []
        for index, placed in enumerate(rules):
            patterns = placed.rule.zone_patterns
            if patterns.is_simple:
                for zone in patterns.exact:
                    self._exact.setdefault(zone, []).append(index)
                for zone in patterns.below:
                    self._below.setdefault(zone, []).append(index)
            else:
                self._others.append(index)

    def concerning(self, zone: Name) -> list[Placed]:
        found = set(self._exact.get(zone, ()))
        for above in names.ancestors(zone, names.ROOT) if self._below else ():
            found.update(self._below.get(above, ()))
        found.update(index for index in self._others if self.rules[index].rule.zone_patterns.match(zone))
        return [self.rules[index] for index in sorted(found)]

    def decide(self, demand: Demand, rules: Sequence[Placed]) -> Verdict:
        """`rules`: those that concern the demand's zone."""
        for placed in rules:
            if placed.rule.may_not and placed.rule.refuses(demand):
                return Verdict(demand, False, placed)
        if self.is_open:
            return Verdict(demand, True, None, "no rule names the user, and the default is open")
        for placed in rules:
            if placed.rule.may and placed.rule.shortfall(demand) is None:
                return Verdict(demand, True, placed)
        return Verdict(demand, False, None, self.lack + _hint(demand, rules))


class Permissions:
    """What permissions.yaml says; without a file everybody may do everything."""

    def __init__(
        self,
        default: Default = "open",
        users: Mapping[str, Sequence[Placed]] | None = None,
        anonymous: Sequence[Placed] = (),
        everybody: Sequence[Placed] = (),
    ) -> None:
        self.default, self.users = default, dict(users or {})
        self.anonymous, self.everybody = tuple(anonymous), tuple(everybody)
        self.is_unlimited = False
        self._books = {
            user: _Book([*rules, *everybody], is_open=False, lack="no rule allows it")
            for user, rules in self.users.items()
        }
        self._nobody = _Book(
            [*anonymous, *everybody],
            is_open=False,
            lack="no rule of `anonymous` allows it, and the message has no user_id: "
            "set it to the user of the connection",
        )
        self._strangers = _Book(
            list(everybody),
            is_open=default == "open",
            lack="no rule allows it; the user isn't named, and the default is closed",
        )

    @classmethod
    def unlimited(cls) -> Self:
        found = cls()
        found.is_unlimited = True
        return found

    def refusal(self, user: str | None, request: Request) -> Forbidden | None:
        """Why the user may not submit this; None if it is allowed. All of it must be."""
        return self._refusal(user, request.zone_name, demands_of(request))

    def check_question(self, user: str | None, query: ZoneQuery) -> None:
        """Raises `Forbidden`, before anything is looked up: the words say nothing of what there is."""
        demand = demand_of_question(query)
        if refusal := self._refusal(user, demand.zone, [demand]):
            raise refusal

    def check_dry_run(self, user: str | None, request: Request) -> None:
        """Raises `Forbidden` where the answer would show what the user may not read. Whether the operation is
        allowed is not asked here: that is part of the answer."""
        if refusal := self._refusal(user, request.zone_name, reads_of_dry_run(request)):
            raise refusal

    def may_read(self, user: str | None, zone: Name, pool: str | None) -> bool:
        """Whether the user may read all of the zone."""
        return self._refusal(user, zone, [Demand(READ, zone, pool)]) is None

    def explain(self, user: str | None, demands: Iterable[Demand]) -> Iterator[Verdict]:
        """What is decided of each, and why."""
        book = self._book(user)
        for demand in demands:
            if self.is_unlimited:
                yield Verdict(demand, True, None, "there is no permissions.yaml: everybody may do everything")
            else:
                yield book.decide(demand, book.concerning(demand.zone))

    def rules_for(self, user: str | None) -> Sequence[Placed]:
        """All rules that hold for the user."""
        return self._book(user).rules

    def _book(self, user: str | None) -> _Book:
        if not user:
            return self._nobody
        return self._books.get(user, self._strangers)

    def _refusal(self, user: str | None, zone: Name, demands: Iterable[Demand]) -> Forbidden | None:
        """The first of the demands, all of one zone, that isn't allowed."""
        if self.is_unlimited:
            return None
        book = self._book(user)
        rules = book.concerning(zone)
        for demand in demands:
            verdict = book.decide(demand, rules)
            if not verdict.is_allowed:
                return Forbidden(f"{who(user)} may not {demand}: {verdict.reason}")
        return None


def who(user: str | None) -> str:
    return shown(user) if user else "nobody"


def _hint(demand: Demand, rules: Iterable[Placed]) -> str:
    """A rule that would do, if the request named its pool."""
    if demand.pool is None:
        for placed in rules:
            pools = placed.rule.pools if placed.rule.may else None
            for pool in pools or ():
                named = Demand(demand.word, demand.zone, pool, demand.name, demand.type)
                if placed.rule.shortfall(named) is None:
                    return f"; {placed.whose} may do it in pool {pool}: say so with pool="
    return ""
