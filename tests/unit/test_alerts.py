"""The alert rules: each fires when it should, none does while all is well, and each leads to its runbook.

`promtool test rules` carries the rules out, as Prometheus would, on the series that stand here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTS = [
    rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]
]  # fmt: skip
NAMES = [rule["alert"] for rule in ALERTS]
#: When it is looked whether anything fires: after every `for` but that of a pause.
LATE, VERY_LATE = "45m", "9h"
TARGET = 'pool="default",target="ns1"'

#: A system in which all is well, under load, sampled every minute.
HEALTHY = {
    'up{job="dnsworker-worker",instance="one:9780"}': "1x700",
    'up{job="dnsworker-exporter",instance="two:9780"}': "1x700",
    "dnsworker_database_up": "1x700",
    "dnsworker_broker_up": "1x700",
    'dnsworker_queue_consumers{queue="dns.intake"}': "2x700",
    'dnsworker_queue_consumers{queue="dns.dead"}': "0x700",
    'dnsworker_queue_messages{queue="dns.intake"}': "12x700",
    'dnsworker_queue_messages{queue="dns.dead"}': "0x700",
    "dnsworker_sweep_seconds_count": "0+30x700",
    'dnsworker_operations_ended_total{kind="put_record",status="ACTIVE",code=""}': "0+600x700",
    'dnsworker_operations_ended_total{kind="put_record",status="ERROR",code="RecordExists"}': "0+6x700",
    'dnsworker_oldest_open_operation_age_seconds{status="PENDING"}': "0x700",
    'dnsworker_oldest_open_operation_age_seconds{status="ACCEPTED"}': "2x700",
    'dnsworker_time_to_active_seconds_bucket{kind="put_record",le="1"}': "0+580x700",
    'dnsworker_time_to_active_seconds_bucket{kind="put_record",le="300"}': "0+600x700",
    'dnsworker_time_to_active_seconds_bucket{kind="put_record",le="+Inf"}': "0+600x700",
    'dnsworker_time_to_active_seconds_count{kind="put_record"}': "0+600x700",
    'dnsworker_zones{status="ACTIVE"}': "1000x700",
    'dnsworker_zones{status="ERROR"}': "0x700",
    "dnsworker_writes_paused": "0x700",
    "dnsworker_repairs_stopped": "0x700",
    f"dnsworker_target_lag_seconds{{{TARGET}}}": "3x700",
    f"dnsworker_target_paused{{{TARGET}}}": "0x700",
    f"dnsworker_target_breaker_open{{{TARGET}}}": "0x700",
    f"dnsworker_target_blocked{{{TARGET}}}": "0x700",
    f"dnsworker_target_resting{{{TARGET}}}": "0x700",
    'dnsworker_repairs_total{target="ns1"}': "0+0x700",
    'dnsworker_budget_postponements_total{target="ns1"}': "0+3x700",
    'dnsworker_delivery_retries_total{target="ns1",reason="ZoneChanged"}': "0+1x700",
    'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="right"}': "0+600x700",
    'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="disagrees"}': "0+200x700",
    'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="unanswered"}': "4x700",
}  # fmt: skip
GONE = ""
FORGOTTEN = "DnsworkerPauseForgotten"
RIGHT = 'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="right"}'
#: What is the matter, as what differs from a healthy system, and the alerts that there are then.
TROUBLES: dict[str, tuple[Mapping[str, str], set[str]]] = {
    "a worker is away": (
        {'up{job="dnsworker-worker",instance="one:9780"}': "0x700"}, {"DnsworkerProcessDown"}
    ),
    "no exporter": ({"dnsworker_database_up": GONE}, {"DnsworkerNotWatched"}),
    "no database": ({"dnsworker_database_up": "0x700"}, {"DnsworkerDatabaseDown"}),
    "no broker": ({"dnsworker_broker_up": "0x700"}, {"DnsworkerBrokerDown"}),
    "no worker for the intake": (
        {'dnsworker_queue_consumers{queue="dns.intake"}': "0x700"}, {"DnsworkerQueueWithoutWorker"}
    ),
    "beat is away": ({"dnsworker_sweep_seconds_count": "9x700"}, {"DnsworkerNoSweep"}),
    "nobody sweeps at all": ({"dnsworker_sweep_seconds_count": GONE}, {"DnsworkerNoSweep"}),
    "a dead letter": ({'dnsworker_queue_messages{queue="dns.dead"}': "1x700"}, {"DnsworkerDeadLetters"}),
    "a defect, for the first time": (
        {'dnsworker_operations_ended_total{kind="put_record",status="ERROR",code="InternalError"}':
         "_x40 1x600"}, {"DnsworkerDefect"},
    ),
    "a full queue": (
        {'dnsworker_queue_messages{queue="dns.intake"}': "5000x700"}, {"DnsworkerIntakeBehind"}
    ),
    "nobody takes in what is in the database": (
        {'dnsworker_oldest_open_operation_age_seconds{status="PENDING"}': "0+60x700"},
        {"DnsworkerIntakeBehind"},
    ),
    "an operation that doesn't end": (
        {'dnsworker_oldest_open_operation_age_seconds{status="ACCEPTED"}': "0+60x700"},
        {"DnsworkerOperationStuck"},
    ),
    "slow": (
        {'dnsworker_time_to_active_seconds_bucket{kind="put_record",le="1"}': "0+400x700"}, {"DnsworkerSlow"}
    ),
    "most is refused": (
        {'dnsworker_operations_ended_total{kind="put_record",status="ERROR",code="RecordExists"}':
         "0+900x700"}, {"DnsworkerManyErrors"},
    ),
    "a zone in error": ({'dnsworker_zones{status="ERROR"}': "1x700"}, {"DnsworkerZonesInError"}),
    "a target that lags": (
        {f"dnsworker_target_lag_seconds{{{TARGET}}}": "0+60x700",
         'dnsworker_budget_postponements_total{target="ns1"}': "7x700"}, {"DnsworkerTargetLags"},
    ),
    "a budget that is too small": (
        {f"dnsworker_target_lag_seconds{{{TARGET}}}": "900x700"},
        {"DnsworkerTargetLags", "DnsworkerBudgetTooSmall"},
    ),
    "a target that is away": (
        {f"dnsworker_target_breaker_open{{{TARGET}}}": "1x700"}, {"DnsworkerTargetAway"}
    ),
    "a key that is refused": (
        {'dnsworker_delivery_retries_total{target="ns1",reason="AuthenticationFailed"}': "0+1x700"},
        {"DnsworkerTargetRefusesKey"},
    ),
    "a zone that is held": (
        {f"dnsworker_target_blocked{{{TARGET}}}": "1x700"}, {"DnsworkerTargetBlocked"}
    ),
    "an old database": ({"dnsworker_repairs_stopped": "1x700"}, {"DnsworkerRepairsStopped"}),
    "somebody edits by hand": (
        {'dnsworker_repairs_total{target="ns1"}': "0+1x700"}, {"DnsworkerTargetDrifts"}
    ),
    "a provider that throttles": (
        {f"dnsworker_target_resting{{{TARGET}}}": "1x700"}, {"DnsworkerTargetThrottled"}
    ),
    "a target is paused, and waits for it": (
        {f"dnsworker_target_paused{{{TARGET}}}": "1x700",
         f"dnsworker_target_lag_seconds{{{TARGET}}}": "0+60x700",
         'dnsworker_budget_postponements_total{target="ns1"}': "7x700"}, {FORGOTTEN},
    ),
    "all are paused, and wait for it": (
        {"dnsworker_writes_paused": "1x700", f"dnsworker_target_lag_seconds{{{TARGET}}}": "0+60x700",
         'dnsworker_budget_postponements_total{target="ns1"}': "7x700",
         'dnsworker_oldest_open_operation_age_seconds{status="ACCEPTED"}': "0+60x700"},
        {FORGOTTEN},
    ),
    "a secondary that doesn't follow": ({RIGHT: "9x700"}, {"DnsworkerNameserverDisagrees"}),
    "a nameserver that is away": (
        {RIGHT: "9x700",
         'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="disagrees"}': "9x700",
         'dnsworker_verifications_total{nameserver="192.0.2.53:53",verdict="unanswered"}': "0+4x700"},
        {"DnsworkerNameserverSilent"},
    ),
}  # fmt: skip


def firing(series: Mapping[str, str], at: str, alerts: set[str]) -> dict[str, Any]:
    """A test of promtool's: with these series exactly these alerts fire at that moment."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items() if values],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": at,
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
                ],
            }
        ],
    }


def run(folder: Path, *tests: dict[str, Any]) -> str:
    """What promtool has to complain of."""
    file = folder / "tests.yml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(tests)}
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, timeout=120, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    assert run(tmp_path, *(firing(HEALTHY, at, set()) for at in ("0m", "5m", "2h"))) == ""


def test_each_trouble_raises_its_alerts_and_no_others(tmp_path: Path) -> None:
    tests = [
        firing({**HEALTHY, **series}, VERY_LATE if FORGOTTEN in alerts else LATE, alerts)
        for series, alerts in TROUBLES.values()
    ]
    assert run(tmp_path, *tests) == ""


def test_a_defect_of_the_day_before_is_over(tmp_path: Path) -> None:
    series = 'dnsworker_operations_ended_total{kind="put_record",status="ERROR",code="InternalError"}'
    assert run(tmp_path, firing({**HEALTHY, series: "3x700"}, "90m", set())) == ""


def test_every_alert_has_a_trouble() -> None:
    assert set().union(*(alerts for _, alerts in TROUBLES.values())) == set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_what_is_over_soon_alerts_nobody(tmp_path: Path) -> None:
    """A restart: everything is away for a minute."""
    blips = {
        "dnsworker_database_up": "0x1 1x700", "dnsworker_broker_up": "0x1 1x700",
        'up{job="dnsworker-worker",instance="one:9780"}': "0x1 1x700",
        'dnsworker_queue_consumers{queue="dns.intake"}': "0x1 2x700",
        f"dnsworker_target_breaker_open{{{TARGET}}}": "1x2 0x700",
    }  # fmt: skip
    assert run(tmp_path, *(firing({**HEALTHY, **blips}, f"{at}m", set()) for at in range(8))) == ""


def test_a_test_that_expects_too_much_or_too_little_fails(tmp_path: Path) -> None:
    assert "DnsworkerBrokerDown" in run(tmp_path, firing(HEALTHY, LATE, {"DnsworkerBrokerDown"}))
    assert "DnsworkerBrokerDown" in run(
        tmp_path, firing({**HEALTHY, "dnsworker_broker_up": "0x700"}, LATE, set())
    )


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_each_alert_says_what_is_the_matter_and_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    titles = re.findall(r"^### (\w+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert rule["alert"] in titles


def test_every_runbook_has_an_alert() -> None:
    titles = re.findall(r"^### (Dnsworker\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert titles == NAMES, "in the order of the rules"


def test_the_example_configuration_is_one(tmp_path: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "config", CONFIG], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout
