"""What the conformance suite may do to any server that takes dynamic updates."""

from __future__ import annotations

import secrets

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from dev.servers import Bind, Knot
from dev.writes import has_update
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.testing import CountingProxy, Proxy, ServerUnderTest, dns_requests


class UpdatableServer(ServerUnderTest):
    """All but the backends."""

    def __init__(self, server: Bind | Knot) -> None:
        self.server = server
        self.dns_proxy = Proxy(server.address, server.port, loses=has_update)
        self.dns_counter = CountingProxy(server.address, server.port, dns_requests)

    def close(self) -> None:
        self.dns_proxy.close()
        self.dns_counter.close()

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def wipe(self) -> None:
        self.server.wipe()
        self.server.start()

    def edit_by_hand(self, plan: Plan) -> None:
        """What nsupdate sends, without a prerequisite."""
        algorithm = self.server.algorithm
        key = dns.tsig.Key(self.server.key_name, self.server.key_secret, algorithm)
        update = dns.update.UpdateMessage(plan.zone, keyring={key.name: key}, keyalgorithm=key.algorithm)
        for change in plan.changes:
            update.delete(dns.name.from_text(change.key[0]), change.key[1])
            if change.after is not None:
                update.add(dns.name.from_text(change.key[0]), change.after.to_rdataset())
        update.add(dns.name.from_text(plan.zone), plan.desired_soa.to_rdataset())
        answer = dns.query.tcp(update, self.server.address, port=self.server.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=5)


def add_to_bind(server: Bind, zone: Name, serial: int) -> None:
    """What an operator does: a file with SOA and NS, and `rndc addzone`."""
    file = f"{zone}{secrets.token_hex(4)}.db"
    (server.folder / file).write_text("\n".join(f"@ 3600 IN {record}" for record in _records(serial)) + "\n")
    server.rndc(
        "addzone",
        zone,
        f'{{ type primary; file "{file}"; check-names ignore; allow-update {{ key {server.key_name}; }}; }};',
    )


def remove_from_bind(server: Bind, zone: Name) -> None:
    server.rndc("delzone", "-clean", zone)


def add_to_knot(server: Knot, zone: Name, serial: int) -> None:
    """What an operator does: a zone with SOA and NS, by knotc."""
    commands = [["conf-begin"], ["conf-set", f"zone[{zone}]"], ["conf-commit"], ["zone-begin", zone]]
    commands += [["zone-set", zone, "@", "3600", *record.split(" ", 1)] for record in _records(serial)]
    for command in [*commands, ["zone-commit", zone]]:
        server.knotc(*command)


def remove_from_knot(server: Knot, zone: Name) -> None:
    server.knotc("--blocking", "--force", "zone-purge", zone)
    for command in (["conf-begin"], ["conf-unset", f"zone[{zone}]"], ["conf-commit"]):
        server.knotc(*command)


def _records(serial: int) -> list[str]:
    return [
        f"SOA ns.operator.example. root.operator.example. {serial} 3600 600 604800 300",
        "NS ns.operator.example.",
    ]
