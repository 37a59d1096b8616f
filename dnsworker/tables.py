"""The tables. What a row means is said here; how rows change is said in `dnsworker.store`.

Two numbers run through all of them. A zone's *serial* is what nameservers show: 32 bits on a circle
(RFC 1982). Its *revision* is ours: 1, 2, 3, … one more for every accepted change, never falling and never
wrapping; it orders the journal and says how far a target or nameserver has got.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: What SQLAlchemy calls MariaDB and MySQL.
MARIADB = ("mysql", "mariadb")
#: What only some databases have. MariaDB's indexes can't leave rows out; where that would bury the few that
#: are looked for among all that ever were, others with a column more are in their place.
NOT_ON_MARIADB, ON_MARIADB = {"only": ("postgresql", "sqlite")}, {"only": MARIADB}

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers only INTEGER keys by itself
#: MariaDB's indexes take keys of 3,072 octets, four for each character but in ASCII.
Ascii = mysql.VARCHAR(1024, charset="ascii", collation="ascii_bin")
#: 255 octets, each up to four characters when escaped.
DnsName = sa.String(1024).with_variant(Ascii, *MARIADB)
#: Compared octet by octet: a range of sort keys is a subtree, which a language's collation would break.
SortKey = DnsName.with_variant(sa.String(1024, collation="C"), "postgresql")
Text = sa.Text().with_variant(mysql.MEDIUMTEXT(), *MARIADB)  # their TEXT ends at 64 KiB


class Moment(sa.types.TypeDecorator[datetime]):
    """A point in time in UTC, to the microsecond, on every database."""

    impl = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *MARIADB)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class now(FunctionElement[datetime]):  # noqa: N801 - reads as SQL
    """The database's clock, `offset_s` seconds on: workers whose clocks disagree agree on this one."""

    type = Moment()
    inherit_cache = True
    name = "now"

    def __init__(self, offset_s: float | sa.ColumnElement[float] = 0.0) -> None:
        is_given = isinstance(offset_s, sa.ColumnElement)
        super().__init__(offset_s if is_given else sa.literal(float(offset_s), sa.Float))


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **options: Any) -> str:
    offset = compiler.process(element.clauses, **options)
    # When the statement began, as on the others. `clock_timestamp` may differ from row to row, so that no
    # index leads to what is due by it: all that isn't due yet would be read first.
    return f"statement_timestamp() + make_interval(secs => CAST({offset} AS float8))"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **options: Any) -> str:
    offset = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', ({offset}) || ' seconds')"


@compiles(now, "mysql")
@compiles(now, "mariadb")
def _now_mysql(element: now, compiler: Any, **options: Any) -> str:
    offset = compiler.process(element.clauses, **options)
    return f"TIMESTAMPADD(MICROSECOND, CAST(({offset}) * 1000000 AS SIGNED), UTC_TIMESTAMP(6))"


pool = sa.Table(
    "pool",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),  # one pool of pools.yaml, as applied
    sa.Column("applied_at", Moment, nullable=False),
)

target = sa.Table(
    "target",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("pool_id", sa.ForeignKey("pool.id"), nullable=False),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("is_removed", sa.Boolean, nullable=False, default=False),
    # An operator's pause, with None until it is ended by hand; see `dnsworker.store.stops`.
    sa.Column("paused_at", Moment),
    sa.Column("paused_until", Moment),
    sa.Column("pause_reason", Text),
    # The breaker: failures in a row that say something about the whole target. It is open while `open_until`
    # is set; whoever moves an expired `open_until` on has taken the one probe.
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("open_until", Moment),
    sa.Column("last_error", Text),
    sa.Column("last_error_at", Moment),
    sa.Column("last_success_at", Moment),
    # It asked for fewer requests, and gets none until then; in its own words.
    sa.Column("rests_until", Moment),
    sa.Column("rest_reason", Text),
    # Its budget, where Redis doesn't keep it: paid for up to then, µs since 1970 (`dnsworker.budget`).
    sa.Column("paid_us", sa.BigInteger),
    # Likewise what is done there in the background (`dnsworker.precedence`).
    sa.Column("repairs_paid_us", sa.BigInteger, nullable=False, default=0),
    sa.Column("looks_paid_us", sa.BigInteger, nullable=False, default=0),
    # It has left its pool, and its zones are being removed there: as pools.yaml had it; since when.
    sa.Column("purging", sa.JSON(none_as_null=True)),
    sa.Column("purging_since", Moment),
    sa.Index("ix_target_pool_id", "pool_id"),
)

# The pause of all targets, also of those that are added meanwhile: one row at most.
pause = sa.Table(
    "pause",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("paused_at", Moment, nullable=False),
    sa.Column("paused_until", Moment),
    sa.Column("pause_reason", Text),
)

zone = sa.Table(
    "zone",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("pool_id", sa.ForeignKey("pool.id"), nullable=False),
    sa.Column("name", DnsName, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("reason", Text),
    sa.Column("is_deleted", sa.Boolean, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("seen_serial", sa.BigInteger),  # the latest ever seen on any target or nameserver
    sa.Column("mname", DnsName, nullable=False),
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("ttl", sa.BigInteger, nullable=False),  # of the SOA, and of RRsets created without one
    sa.Column("refresh", sa.BigInteger, nullable=False),
    sa.Column("retry", sa.BigInteger, nullable=False),
    sa.Column("expire", sa.BigInteger, nullable=False),
    sa.Column("minimum", sa.BigInteger, nullable=False),
    # When the nameservers are to be asked again; None when nothing is open.
    sa.Column("look_at", Moment),
    sa.Column("looks", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
    # Since when an operator has nothing sent to any target.
    sa.Column("frozen_at", Moment),
    sa.Column("freeze_reason", Text),
    # The operation that moves it to another pool, until it is gone from here; that brings it here, until it
    # is here. See `move`.
    sa.Column("leaves_by", sa.String(64)),
    sa.Column("arrives_by", sa.String(64)),
    sa.UniqueConstraint("pool_id", "name"),
    sa.Index("ix_zone_name", "name"),
    sa.Index("ix_zone_status_name", "status", "name"),  # for pages of those in a status
    sa.Index(
        "ix_zone_frozen_at",
        "frozen_at",
        postgresql_where=sa.text("frozen_at IS NOT NULL"),
        sqlite_where=sa.text("frozen_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_zone_look_at",
        "look_at",
        postgresql_where=sa.text("look_at IS NOT NULL"),
        sqlite_where=sa.text("look_at IS NOT NULL"),
    ),
)

recordset = sa.Table(
    "recordset",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("zone.id"), primary_key=True, autoincrement=False),
    sa.Column("name", DnsName, primary_key=True),
    sa.Column("type", sa.String(16), primary_key=True),
    sa.Column("ttl", sa.BigInteger, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("sort_key", SortKey, nullable=False),  # names.sort_key: what is below a name follows it
    sa.Index("ix_recordset_zone_id_sort_key", "zone_id", "sort_key"),
)

operation = sa.Table(
    "operation",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("zone", DnsName, nullable=False),
    sa.Column("pool", sa.String(100)),
    sa.Column("zone_id", sa.ForeignKey("zone.id")),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("client", sa.String(64)),
    sa.Column("number", sa.BigInteger),
    sa.Column("skips", sa.JSON),
    sa.Column("submitter", sa.String(255)),  # the AMQP user that the broker vouches for
    sa.Column("comment", sa.String(500)),
    sa.Column("traceparent", sa.String(55)),  # its submitter's place in a trace (W3C)
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("revision", sa.BigInteger),
    sa.Column("serial", sa.BigInteger),
    sa.Column("code", sa.String(64)),
    sa.Column("message", Text),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("accepted_at", Moment),
    sa.Column("finished_at", Moment),
    # The outcome still has to be told to waiters: an outbox.
    sa.Column("is_untold", sa.Boolean, nullable=False, default=False),
    sa.Index("ix_operation_zone_received_at", "zone", "received_at"),  # what was ever asked of a name
    sa.Index("ix_operation_client_zone_number", "client", "zone", "number"),
    sa.Index(
        "ix_operation_open",
        "status",
        "received_at",
        postgresql_where=sa.text("status IN ('PENDING', 'HELD', 'ACCEPTED')"),
        sqlite_where=sa.text("status IN ('PENDING', 'HELD', 'ACCEPTED')"),
    ),
    # The latest of those that have ended in some way, and how many did within some time.
    sa.Index(
        "ix_operation_ended",
        "status",
        "finished_at",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_operation_accepted",
        "zone_id",
        postgresql_where=sa.text("status = 'ACCEPTED'"),
        sqlite_where=sa.text("status = 'ACCEPTED'"),
        info=NOT_ON_MARIADB,
    ),
    sa.Index(
        "ix_operation_untold",
        "finished_at",
        postgresql_where=sa.text("is_untold"),
        sqlite_where=sa.text("is_untold"),
        info=NOT_ON_MARIADB,
    ),
    sa.Index("ix_operation_zone_id_status", "zone_id", "status", info=ON_MARIADB),
    sa.Index("ix_operation_is_untold", "is_untold", "finished_at", info=ON_MARIADB),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("zone_id", sa.ForeignKey("zone.id"), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("name", DnsName, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("before", sa.JSON(none_as_null=True)),  # {"ttl", "data"}; NULL: not there
    sa.Column("after", sa.JSON(none_as_null=True)),
    sa.Column("operation_id", sa.ForeignKey("operation.id"), nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Index("ix_journal_zone_id_revision", "zone_id", "revision"),
    sa.Index("ix_journal_zone_id_name_type_revision", "zone_id", "name", "type", "revision"),
    sa.Index("ix_journal_operation_id", "operation_id"),
)

# From which revision on a zone's journal is whole. Of what was before, the last row is left of each RRset
# that was there just then; see `dnsworker.store.retention`.
trimmed = sa.Table(
    "trimmed",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("zone.id"), primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

# How far the purge of old rows of each kind has got, and when it goes on.
purge = sa.Table(
    "purge",
    metadata,
    sa.Column("what", sa.String(16), primary_key=True),
    sa.Column("position", sa.JSON, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("zone.id"), primary_key=True, autoincrement=False),
    sa.Column("target_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("goal", sa.String(8), nullable=False),  # present | absent
    sa.Column("wanted_revision", sa.BigInteger, nullable=False),
    # What we know of the target: never | creating | present | absent | foreign | ahead | held
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("delivered_revision", sa.BigInteger, nullable=False, default=0),
    sa.Column("delivered_at", Moment),  # when it got there
    sa.Column("soa", Text),  # complete rdata last seen there: the fence of the next update
    sa.Column("must_read", sa.Boolean, nullable=False, default=False),  # ask what it has before writing
    sa.Column("force", sa.Boolean, nullable=False, default=False),  # may overwrite what it finds there
    # What the provider has taken and not spread to all its servers yet: [change id, revision, Unix time].
    sa.Column("unconfirmed", sa.JSON(none_as_null=True)),
    # The claim.
    sa.Column("owner", sa.BigInteger),
    sa.Column("epoch", sa.BigInteger, nullable=False, default=0),
    sa.Column("lease_until", Moment),
    # The clock.
    sa.Column("due_at", Moment),
    # What is due: 0 a change that somebody waits for, 1 what has to be repaired or filled.
    sa.Column("priority", sa.SmallInteger, nullable=False, default=0),
    # When to look whether the target still has it (None: it has nothing of ours); when all was read there.
    sa.Column("compare_at", Moment),
    sa.Column("compared_at", Moment),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("last_code", sa.String(64)),
    sa.Column("last_error", Text),
    sa.Column("last_attempt_at", Moment),  # when it began, and when it broke off
    sa.Column("last_repair_at", Moment),
    sa.Column("last_repair", Text),
    sa.Column("drift", Text),  # what somebody else changed there, where the pool only reports it
    sa.Column("ds_records", sa.JSON(none_as_null=True)),  # of the target's signer, as of the last delivery
    # MariaDB would lock the target with every new `due_at`, whose index begins with the key: a deadlock as
    # soon as two deliveries fail and count it there.
    sa.ForeignKeyConstraint(["target_id"], ["target.id"], info=NOT_ON_MARIADB),
    sa.Index(
        "ix_delivery_due",
        "target_id",
        "priority",
        "due_at",
        postgresql_include=["attempts"],  # for `status`, which counts them
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_delivery_compare",
        "target_id",
        "compare_at",
        postgresql_where=sa.text("compare_at IS NOT NULL AND due_at IS NULL"),
        sqlite_where=sa.text("compare_at IS NOT NULL AND due_at IS NULL"),
    ),
    sa.Index(
        "ix_delivery_blocked",
        "state",
        "target_id",
        postgresql_where=sa.text("state IN ('foreign', 'ahead', 'held')"),
        sqlite_where=sa.text("state IN ('foreign', 'ahead', 'held')"),
    ),
    sa.Index(
        "ix_delivery_ahead",
        "state",
        postgresql_where=sa.text("state = 'ahead'"),
        sqlite_where=sa.text("state = 'ahead'"),
    ),
    sa.Index(
        "ix_delivery_owner",
        "owner",
        postgresql_where=sa.text("owner IS NOT NULL"),
        sqlite_where=sa.text("owner IS NOT NULL"),
    ),
)

withheld = sa.Table(
    "withheld",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("zone.id"), primary_key=True, autoincrement=False),
    sa.Column("target_id", sa.ForeignKey("target.id"), primary_key=True, autoincrement=False),
    sa.Column("name", DnsName, primary_key=True),
    sa.Column("type", sa.String(16), primary_key=True),
    sa.Column("operation_id", sa.ForeignKey("operation.id"), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.JSON(none_as_null=True)),  # what the target has instead
    sa.Column("message", Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Index("ix_withheld_operation_id", "operation_id"),
    sa.Index("ix_withheld_at", "at"),
)

observation = sa.Table(
    "observation",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("zone.id"), primary_key=True, autoincrement=False),
    sa.Column("nameserver", sa.String(300), primary_key=True),  # host:port
    # When it was first found right up to the revision. Before it: MariaDB's upsert sets one after the other.
    sa.Column("verified_at", Moment),
    sa.Column("verified_revision", sa.BigInteger, nullable=False, default=0),
    sa.Column("serial", sa.BigInteger),
    sa.Column("seen_at", Moment),
    sa.Column("error", Text),
)

# A zone on its way from one pool to another: two rows of `zone`, and how far it is (`desired.moving`).
move = sa.Table(
    "move",
    metadata,
    sa.Column("operation_id", sa.String(64), primary_key=True),  # whose row may be written a moment later
    sa.Column("source_id", sa.ForeignKey("zone.id"), nullable=False),
    sa.Column("destination_id", sa.ForeignKey("zone.id"), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),  # delivering | removing | done | given up
    sa.Column("copies", sa.Integer, nullable=False),  # so often the other pool was brought up to date
    sa.Column("copied_revision", sa.BigInteger, nullable=False),  # of the source, in the last of them
    # The latest serial under which the pool that it left had shown it: what is ahead of that is the other's.
    sa.Column("left_serial", sa.BigInteger),
)

# How many there are of the zones whose ids begin with this one; see `dnsworker.store.census`.
census = sa.Table(
    "census",
    metadata,
    sa.Column("first_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("counted_at", Moment, nullable=False),
)

submission = sa.Table(
    "submission",
    metadata,
    sa.Column("client", sa.String(64), primary_key=True),
    sa.Column("zone", DnsName, primary_key=True),
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("voids", sa.JSON, nullable=False),  # later numbers that will never come
    sa.Column("updated_at", Moment, nullable=False),
)

# What the built-in nameserver serves. Tables of their own, so that the built-in backend is a target like any
# other: it is delivered to, read back and verified.
served_zone = sa.Table(
    "served_zone",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("target", sa.String(100), nullable=False),
    sa.Column("name", DnsName, nullable=False),
    sa.Column("soa", Text, nullable=False),
    sa.Column("soa_ttl", sa.BigInteger, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("target", "name"),
    sa.Index("ix_served_zone_name", "name"),
)

served_rrset = sa.Table(
    "served_rrset",
    metadata,
    sa.Column("zone_id", sa.ForeignKey("served_zone.id"), primary_key=True, autoincrement=False),
    sa.Column("name", DnsName, primary_key=True),
    sa.Column("type", sa.String(16), primary_key=True),
    sa.Column("ttl", sa.BigInteger, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("sort_key", SortKey, nullable=False),
    sa.Index("ix_served_rrset_zone_id_sort_key", "zone_id", "sort_key"),
)
