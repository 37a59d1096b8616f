"""The `dnsworker` command. Its parts are modules by noun; nothing heavy is imported until a command runs."""

from __future__ import annotations

import os

import click

from dnsworker.cli.backends import backends as backends_command
from dnsworker.cli.backends import schema
from dnsworker.cli.completion import completion as completion_command
from dnsworker.cli.dashboard import dashboard as dashboard_command
from dnsworker.cli.database import db
from dnsworker.cli.dead import dead, discard, requeue
from dnsworker.cli.demo import demo as demo_command
from dnsworker.cli.freezing import freeze, thaw
from dnsworker.cli.moving import move
from dnsworker.cli.notifying import notify
from dnsworker.cli.operation import operation as operation_group
from dnsworker.cli.permissions import permissions as permissions_group
from dnsworker.cli.pool import pool as pool_group
from dnsworker.cli.program import Program
from dnsworker.cli.record import record as record_group
from dnsworker.cli.running import beat, queues, up, worker
from dnsworker.cli.status import status as status_command
from dnsworker.cli.target import target
from dnsworker.cli.watching import exporter, health
from dnsworker.cli.zone import zone as zone_group

__all__ = ["cli", "main"]


@click.group(
    "dnsworker",
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="dnsworker", message="dnsworker %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """DNS changes, pushed to your nameservers, verified and remembered.

    Start with `dnsworker demo`, or `dnsworker up` and then `dnsworker zone create example.org
    --email hostmaster@example.org`. Settings are environment variables: DNSWORKER_BROKER_URL,
    DNSWORKER_DATABASE_URL, DNSWORKER_DATA_DIR and so on.
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org: any value but the empty one
        context.color = False


for part in (
    up, demo_command, zone_group, record_group, operation_group, pool_group, permissions_group, target,
    status_command, backends_command, worker, beat, exporter, health, dashboard_command, db, queues, schema,
    completion_command,
):  # fmt: skip
    cli.add_command(part)
for part in (freeze, thaw, notify, move):
    zone_group.add_command(part)
for part in (dead, requeue, discard):
    queues.add_command(part)

main = cli.main
