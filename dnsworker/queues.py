"""Every exchange, queue and route, in one place: a queue that two sides declare differently stops both.

    dns.submit   ── intake ──► dns.intake            the only exchange that submitters may write to
                 ── query ───► dns.query
    dns.internal ── deliver.<target> ──► dns.deliver.<target>
                 ── sweep ──► dns.sweep
    dns.dead     ──────────► dns.dead                what could not be handled, kept for a person

Intake and dead letters are quorum queues: what is in them is promised. All others carry wake-ups and
questions that the database or the asker repeats, so they are short, bounded and cheap.
"""

from __future__ import annotations

from kombu import Exchange, Queue

from dnsworker.errors import ConfigError
from dnsworker.requests.kinds import OPERATIONS
from dnsworker.requests.questions import QUERIES
from dnsworker.requests.request import PREFIX

SUBMIT = Exchange("dns.submit", type="direct", durable=True)
INTERNAL = Exchange("dns.internal", type="direct", durable=True)
DEAD = Exchange("dns.dead", type="direct", durable=True)

INTAKE_KEY, QUERY_KEY, SWEEP_KEY, DEAD_KEY = "intake", "query", "sweep", "dead"

DELIVER_PREFIX = "dns.deliver."
#: What `-Q` may say for the queues of all targets.
ALL_DELIVERIES = ("dns.deliver", "dns.deliver.*")

#: A worker's restart counts as a delivery of every message it held, so a low limit kills innocents. The
#: argument of a queue is frozen once declared: to lower it, set a policy (the smaller of the two counts).
DELIVERY_LIMIT = 50

#: Wake-ups beyond this are dropped, oldest first: the rows are due all the same.
WAKE_UPS_KEPT = 1_000

#: Messages that are taken from a queue together, where that isn't one for each thread. Those that a worker
#: holds when it is killed count as delivered once more.
AT_ONCE = {"dns.intake": 200}

#: An unanswered question is of no use to anybody after this long.
QUERY_TTL_S = 60

SUBMITTABLE = frozenset(PREFIX + kind for kind in OPERATIONS)
ASKABLE = frozenset(PREFIX + kind for kind in QUERIES)

DELIVER_TASK = PREFIX + "deliver"
INTAKE_TASK = PREFIX + "intake"
SWEEP_TASK = PREFIX + "sweep"


def intake_queue() -> Queue:
    return Queue(
        "dns.intake", SUBMIT, routing_key=INTAKE_KEY, durable=True, queue_arguments=_quorum(dead=True)
    )


def dead_queue() -> Queue:
    return Queue("dns.dead", DEAD, routing_key=DEAD_KEY, durable=True, queue_arguments=_quorum(dead=False))


def query_queue() -> Queue:
    arguments = {"x-message-ttl": QUERY_TTL_S * 1000, "x-max-length": 10_000}
    return Queue("dns.query", SUBMIT, routing_key=QUERY_KEY, durable=True, queue_arguments=arguments)


def sweep_queue() -> Queue:
    return Queue(
        "dns.sweep", INTERNAL, routing_key=SWEEP_KEY, durable=True, queue_arguments={"x-max-length": 100}
    )


def deliver_queue(target: str) -> Queue:
    """The wake-ups of one target."""
    return Queue(
        DELIVER_PREFIX + target,
        INTERNAL,
        routing_key=deliver_key(target),
        durable=True,
        queue_arguments={"x-max-length": WAKE_UPS_KEPT},
    )


def deliver_key(target: str) -> str:
    return f"deliver.{target}"


def all_queues(targets: list[str]) -> list[Queue]:
    """What a worker declares and consumes: everything but the dead letters, which nobody consumes."""
    return [intake_queue(), query_queue(), sweep_queue(), *(deliver_queue(target) for target in targets)]


def select_queues(wanted: list[str] | None, targets: list[str]) -> list[Queue]:
    """The queues that a worker takes: all, or those named by `-Q` (`dns.deliver`: those of all targets).

    A queue of one target may be named before the pool is applied. Raises `ConfigError` for an unknown one.
    """
    if not wanted:
        return all_queues(targets)
    selected: dict[str, Queue] = {}
    for name in wanted:
        if name in ALL_DELIVERIES:
            found = [deliver_queue(target) for target in targets]
        elif name.startswith(DELIVER_PREFIX):
            found = [deliver_queue(name.removeprefix(DELIVER_PREFIX))]
        else:
            found = [queue for queue in all_queues([]) if queue.name == name]
            if not found:
                raise ConfigError(
                    f"no queue {name!r}: there are dns.intake, dns.query, dns.sweep, "
                    "dns.deliver (of all targets) and dns.deliver.<target>"
                )
        selected |= {queue.name: queue for queue in found}
    return list(selected.values())


def takes_all_deliveries(wanted: list[str] | None) -> bool:
    """Whether a worker with this `-Q` takes the queues of targets that come later, too."""
    return not wanted or any(name in ALL_DELIVERIES for name in wanted)


def route(name: str, *_args: object, **_options: object) -> dict[str, str] | None:
    """Celery's router: by task name to exchange and key. Deliveries name their own key when sent."""
    if name in SUBMITTABLE:
        return {"exchange": SUBMIT.name, "routing_key": INTAKE_KEY}
    if name in ASKABLE:
        return {"exchange": SUBMIT.name, "routing_key": QUERY_KEY}
    if name in (SWEEP_TASK, INTAKE_TASK):
        return {"exchange": INTERNAL.name, "routing_key": SWEEP_KEY}
    return None


def _quorum(*, dead: bool) -> dict[str, object]:
    arguments: dict[str, object] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if dead:
        arguments |= {
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD.name,
            "x-dead-letter-routing-key": DEAD_KEY,
            "x-dead-letter-strategy": "at-least-once",
        }
    return arguments
