"""A database as years of work leave it, written by set-based SQL in minutes instead of by operations in days.

Separate from the measurements that need one. PostgreSQL only.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

#: Zones `z<first>.test.` to `z<last>.test.`, by whose ids (those after `after`) the rest is found. Each was
#: created and got a record; all targets have it, and all nameservers show it.
ZONES = (
    """
    INSERT INTO zone (pool_id, name, status, is_deleted, revision, serial, mname, email, ttl, refresh, retry,
                      expire, minimum, looks, created_at, updated_at)
    SELECT pool.id, 'z' || n || '.test.', 'ACTIVE', false, 2, 1700000002, 'ns1.dnsworker.test.',
           'hostmaster@example.org', 3600, 3600, 600, 86400, 3600, 0, now(), now()
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, pool
    """,
    """
    INSERT INTO recordset (zone_id, name, type, ttl, data, sort_key)
    SELECT zone.id, owner || zone.name, type, 3600, data::json,
           'test ' || rtrim(zone.name, '.test') || ' ' || label
    FROM zone, (VALUES ('', '', 'NS', '["ns1.dnsworker.test.", "ns2.dnsworker.test."]'),
                       ('www.', 'www ', 'A', '["192.0.2.1"]')) AS rrset (owner, label, type, data)
    WHERE zone.id > :after
    """,
    """
    INSERT INTO operation (id, kind, zone, pool, zone_id, payload, digest, status, revision, serial,
                           received_at, accepted_at, finished_at, is_untold)
    SELECT kind || zone.id, kind, zone.name, 'default', zone.id, '{}', '', 'ACTIVE', revision.number,
           1700000000 + revision.number, now() - interval '1 day', now(), now(), false
    FROM zone, (VALUES ('create_zone', 1), ('put_record', 2)) AS revision (kind, number)
    WHERE zone.id > :after
    """,
    """
    INSERT INTO journal (zone_id, revision, serial, name, type, after, operation_id, at)
    SELECT zone_id, revision, serial, CASE revision WHEN 1 THEN zone ELSE 'www.' || zone END,
           CASE revision WHEN 1 THEN 'NS' ELSE 'A' END, '{"ttl": 3600, "data": ["192.0.2.1"]}', id, now()
    FROM operation WHERE zone_id > :after
    """,
    """
    INSERT INTO delivery (zone_id, target_id, goal, wanted_revision, state, soa, delivered_revision,
                          must_read, force, epoch, attempts, compare_at, compared_at)
    SELECT zone.id, target.id, 'present', 2, 'present',
           'ns1.dnsworker.test. hostmaster.example.org. 1700000002 3600 600 86400 3600', 2,
           false, false, 2, 0, now() + interval '1 day' * (0.5 + random()), now()
    FROM zone, target WHERE zone.id > :after
    """,
    """
    INSERT INTO observation (zone_id, nameserver, verified_revision, serial, seen_at)
    SELECT zone.id, server, 2, 1700000002, now()
    FROM zone, (VALUES ('192.0.2.53:53'), ('192.0.2.54:53')) AS nameserver (server)
    WHERE zone.id > :after
    """,
    """
    INSERT INTO submission (client, zone, last_number, voids, updated_at)
    SELECT 'client' || zone.id % 100, zone.name, 2, '[]', now() FROM zone WHERE zone.id > :after
    """,
)
#: One target has been down while each zone changed: all of it waits there.
OUTAGE = (
    "UPDATE zone SET status = 'DEGRADED', reason = 'target away: nobody answers'",
    """
    UPDATE delivery SET delivered_revision = 1, attempts = 5, last_code = 'Unreachable', compare_at = NULL,
           last_error = 'nobody answers', due_at = now() + interval '1 hour' * (random() - 0.5)
    WHERE target_id = (SELECT max(id) FROM target)
    """,
    """
    UPDATE target SET failures = 9, open_until = now() + interval '1 hour', last_error = 'nobody answers'
    WHERE id = (SELECT max(id) FROM target)
    """,
)


#: A zone of that name gets so many records.
RECORDS = (
    """
    INSERT INTO recordset (zone_id, name, type, ttl, data, sort_key)
    SELECT zone.id, 'h' || n || '.' || zone.name, 'A', 3600, '["192.0.2.1"]', apex.sort_key || 'h' || n || ' '
    FROM zone JOIN recordset AS apex ON apex.zone_id = zone.id AND apex.name = zone.name AND apex.type = 'NS',
         generate_series(1, CAST(:records AS int)) AS n
    WHERE zone.name = :zone
    """,
)


def fill(engine: sa.Engine, statements: Iterable[str], **values: int | str) -> None:
    """Carry out the statements, each in its transaction, and have the planner know about it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        for statement in statements:
            text = sa.text(statement)
            connection.execute(text, {name: values[name] for name in text.compile().params})
        connection.exec_driver_sql("VACUUM ANALYZE")
        connection.exec_driver_sql("RESET statement_timeout")


def add_zones(engine: sa.Engine, first: int, last: int) -> None:
    """The zones with these numbers, at rest."""
    with engine.connect() as connection:
        after = connection.execute(sa.text("SELECT coalesce(max(id), 0) FROM zone")).scalar_one()
    fill(engine, ZONES, first=first, last=last, after=after)
