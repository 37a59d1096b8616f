"""What Flower shows, read by `celery -A dnsworker.app flower` from the folder that it is started in.

Its login and the address of RabbitMQ's management are secrets: FLOWER_BASIC_AUTH and FLOWER_BROKER_API in its
environment.
"""

from typing import Any

#: The id is the operation's and leads to all there is; `kwargs` are a few words: what is asked for. With
#: worker and runtime as well, what came of it would be beside the screen.
tasks_columns = "uuid,name,kwargs,state,result,received"
natural_time = True
#: Of a reason in the table; all of it is on the task's page.
LONGEST_REASON = 48


def format_task(task: Any) -> Any:
    """A task as it is shown. One that failed has no result: its reason stands there."""
    if task.name:
        task.name = task.name.removeprefix("dnsworker.")
    if task.exception and not task.result:
        task.result = _reason(task.exception)
    elif task.result:
        task.result = task.result.strip("'")
    return task


def _reason(exception: str) -> str:
    """`OperationFailed('RecordExists: …')` without the exception's name."""
    text = exception.partition("(")[2].rstrip(")").strip("'\"") or exception
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"
