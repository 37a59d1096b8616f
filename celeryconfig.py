"""Celery's own settings: each one that isn't Celery's default, with its reason.

`configuration(settings)` is what `dnsworker.app.make_app` uses. As a plain configuration module
(`app.config_from_object("celeryconfig")`) it takes its settings from the environment when it is first read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from dnsworker import queues
from dnsworker.broker import folder_options
from dnsworker.settings import Settings, load_settings
from dnsworker.tls import broker_ssl


def configuration(settings: Settings) -> dict[str, Any]:
    """All settings, as a dict. The queues of targets are added by the worker, which knows the database."""
    return {
        "broker_url": settings.broker(),
        # Certificates are checked, names included; False unless the URL says amqps://.
        "broker_use_ssl": broker_ssl(settings.broker(), settings.ca_bundle),
        # Redis, or nothing: results are for whoever waits; the database is the record.
        "result_backend": settings.result(),
        # Tasks are found here when a worker starts.
        "include": ["tasks.submissions", "tasks.queries", "tasks.internal"],
        # One source for exchanges, queues and routes: dnsworker/queues.py.
        "task_queues": queues.all_queues([]),
        "task_routes": (queues.route,),
        # No stray queue `celery` that nobody reads.
        "task_default_queue": "dns.intake",
        "task_default_exchange": queues.SUBMIT.name,
        "task_default_routing_key": queues.INTAKE_KEY,
        # A mistyped queue name raises; it doesn't make a classic queue that stops every worker.
        "task_create_missing_queues": False,
        # A message is acknowledged when its task has ended, so that a crash delivers it again.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A failure is written in the database and needs no second delivery; a time-out does.
        "task_acks_on_failure": True,
        "task_acks_on_timeout": False,
        # Only outcomes (and the answers of queries) are stored.
        "task_ignore_result": True,
        # No pickle, in or out.
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "broker_transport_options": _transport_options(settings),
        # A frozen worker is noticed in 20 s, not in four minutes.
        "broker_heartbeat": 10,
        # Any start order; never give up.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # The default of 10 starves 16 threads that publish.
        "broker_pool_limit": settings.concurrency + 4,
        # Dead-letters what it can't take instead of losing it; sets up no delayed delivery.
        "worker_consumer": "dnsworker.consumer:Consumer",
        # Tasks wait for networks: threads did 2,749/s at half the CPU of prefork's 1,801/s.
        "worker_pool": "threads",
        "worker_concurrency": settings.concurrency,
        # A prefetched message that never started counts as delivered when the worker is killed.
        "worker_prefetch_multiplier": 1,
        # Flower has the workers send them, every five seconds while it runs; without it nobody would read
        # them, and each is a message. The sent event would be a second publish each.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        # The file-system transport has no use for remote control but files that pile up.
        "worker_enable_remote_control": not settings.is_embedded,
        # Logging is dnsworker/logs.py's.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # The database is the record. (None keeps beat from adding a clean-up task of its own.)
        "result_expires": 86_400 if settings.result_url else None,
        # The defaults are 120 s, none, and for ever.
        "redis_socket_timeout": 5,
        "redis_socket_connect_timeout": 2,
        "result_backend_max_retries": 3,
        # Storing waits up to 20 s by default; whoever stores an outcome has an outbox that repeats it.
        "result_backend_transport_options": {"retry_policy": {"max_retries": 1, "interval_start": 0.1}},
        # Wake-ups that nobody took in time are dropped: the next one says the same.
        "beat_schedule": {
            "sweep": {
                "task": queues.SWEEP_TASK,
                "schedule": settings.sweep_interval_s,
                "options": {
                    "expires": max(1.0, 3 * settings.sweep_interval_s),
                    "delivery_mode": "transient",
                    "ignore_result": True,
                },
            }
        },
        # Its default of five minutes would delay the first sweep after a clock change.
        "beat_max_loop_interval": max(1.0, settings.sweep_interval_s),
        "timezone": "UTC",
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.is_embedded:
        return folder_options(settings.data_dir.expanduser())
    # A publish returns when the broker has the message.
    return {"confirm_publish": True}


@cache
def _from_environment() -> dict[str, Any]:
    return configuration(load_settings())


def __dir__() -> list[str]:
    return list(_from_environment())


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return _from_environment()[name]
    except KeyError as exc:
        raise AttributeError(name) from exc
