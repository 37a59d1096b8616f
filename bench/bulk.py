"""How soon large changes and imports are ACTIVE: `python -m bench.bulk`.

`change_zone` of many RRsets, several times over, and the import of a large zone file, each from the call
until `wait()` returns. Beside each, in the same run and at the same server, the simplest means: dynamic
updates by dnspython with a hundred records a message, or PATCHes of five hundred RRsets to PowerDNS' API.
Exit status: 0 the goals are met, 1 they aren't, 2 nothing was measured, or what was made isn't what was
wanted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from bench import profile, raw
from bench.command import Measured, count, new_parser, run, say
from bench.goals import Row
from bench.system import EMAIL, PATIENCE_S, System, a_system
from dnsworker import Change, Client

LIMIT = 1_000_000
#: What the goals are for; others are said.
RRSETS, RECORDS = 10_000, 100_000
CHANGED, IMPORTED = "changed.test.", "imported.test."
RAW_ZONE = "raw-bulk.test."
#: For the submission itself: megabytes on a busy machine.
SUBMIT_WITHIN_S = 120.0
WARM_UP = 10
#: Records a message of the plain updates; RRsets a PATCH.
AT_ONCE = {"bind": 100, "powerdns": 500}


class Bench:
    """One run against one system."""

    def __init__(self, system: System, client: Client, server: str) -> None:
        self.system, self._client, self._server = system, client, server
        self._suffix = "" if server == "bind" else f".{server}"
        self.measured = Measured(system.settings)

    def prepare(self) -> None:
        self.system.create_zones([CHANGED])
        self._change(0, WARM_UP)
        if self._server == "bind":
            raw.create_zones(self.system.stack.bind, [RAW_ZONE])
        else:
            raw.create_at_powerdns(self.system.stack.powerdns, RAW_ZONE)

    def change(self, rrsets: int, rounds: int) -> None:
        """So many new RRsets in one operation, beside as many by the plain way, in turns."""
        rates, plain = [], []
        for number in range(1, rounds + 1):
            rates.append(rrsets / self._change(number, rrsets))
            plain.append(self._plain_rate(rrsets))
        remark = "" if rrsets == RRSETS else f"{rrsets:,}"
        self._add("bulk.change", statistics.median(rates), statistics.median(plain), remark)
        self.measured.details |= {"rates of change_zone, /s": rates, "raw, /s": plain}

    def import_zone(self, records: int) -> None:
        """A new zone from its text."""
        lines = [f"$ORIGIN {IMPORTED}", "$TTL 300", raw.FILE]
        lines += [f"r{number} AAAA {raw.address(number)}" for number in range(records)]
        begun = time.monotonic()
        operation = self._client.import_zone(IMPORTED, text="\n".join(lines), email=EMAIL)
        operation.wait(PATIENCE_S)
        took_s = time.monotonic() - begun
        self.system.submitted += 1
        self.system.zones.append(IMPORTED)
        remark = "" if records == RECORDS else f"{records:,}"
        moot = "" if records == RECORDS else f"it is for {RECORDS:,}"
        self.measured.found.append(Row(f"bulk.import{self._suffix}", took_s, moot=moot, remark=remark))
        self._add("bulk.import.rate", records / took_s, self._plain_rate(records), remark)

    def _change(self, number: int, rrsets: int) -> float:
        """Returns the seconds from the call to its end."""
        begun = time.monotonic()
        changes = [
            Change.create(f"r{number}-{at}", "AAAA", [raw.address(at)], ttl=300) for at in range(rrsets)
        ]
        self._client.change_zone(CHANGED, changes).wait(PATIENCE_S)
        self.system.submitted += 1
        return time.monotonic() - begun

    def _plain_rate(self, records: int) -> float:
        if self._server == "bind":
            return raw.add_rate(self.system.stack.bind, RAW_ZONE, records, AT_ONCE["bind"])
        return raw.patch_rate(self.system.stack.powerdns, RAW_ZONE, records, AT_ONCE["powerdns"])

    def _add(self, key: str, ours: float, plain: float, remark: str) -> None:
        way = "dnspython, {} RRs a message" if self._server == "bind" else "PATCH of {} RRsets"
        words = way.format(AT_ONCE[self._server])
        self.measured.found.append(Row(f"{key}{self._suffix}", ours, plain, words, remark=remark))


def measure(bench: Bench, rrsets: int, rounds: int, records: int) -> Measured:
    """All figures of one system that has just been started. Raises `NothingMeasured`."""
    bench.prepare()
    say(f"{rounds} times {rrsets:,} RRsets in one change …")
    bench.change(rrsets, rounds)
    say(f"a zone of {records:,} records is imported …")
    bench.import_zone(records)
    say("checking that the server has what the database wants …")
    bench.measured.details["checked"] = bench.system.check()
    return bench.measured


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, the nameserver and the workers …")
    with a_system(options.server, fsync=not options.no_fsync) as system, a_client(system) as client:
        bench = Bench(system, client, options.server)
        with profile.recording(system.stack, options.profile, f"bulk-{options.server}"):
            return measure(bench, options.rrsets, options.rounds, options.records)


def a_client(system: System) -> Client:
    env = system.stack.env
    return Client(env["DNSWORKER_BROKER_URL"], env["DNSWORKER_RESULT_URL"], timeout_s=SUBMIT_WITHIN_S)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("bulk", __doc__)
    parser.add_argument(
        "--rrsets", type=count(LIMIT), default=RRSETS, metavar="N", help=f"of one change ({RRSETS})"
    )
    parser.add_argument("--rounds", type=count(100), default=3, metavar="N", help="of changes (3)")
    parser.add_argument(
        "--records", type=count(LIMIT), default=RECORDS, metavar="N", help=f"of the import ({RECORDS})"
    )
    parser.add_argument("--server", choices=tuple(AT_ONCE), default="bind", help="the target (bind)")
    parser.add_argument(
        "--profile", type=profile.folder, metavar="FOLDER", help="flame graphs of the workers"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
