"""What Flower shows, read by `celery -A dnsworker.app flower` from the folder that it is started in.

Its login and the address of RabbitMQ's management are secrets: FLOWER_BASIC_AUTH and FLOWER_BROKER_API in its
environment.
"""

from typing import Any

#: The id is the operation's and leads to all there is; `kwargs` are a few words: what is asked for. With
#: worker and runtime as well, what came of it would be beside the screen.
tasks_columns = "uuid,name,kwargs,state,result,received"
natural_time = True
#: Characters of a reason, which is whole on the task's page, and of what a question was answered.
LONGEST = 48


def format_task(task: Any) -> Any:
    """A task as it is shown. One that failed has no result: its reason stands there."""
    if task.name:
        task.name = task.name.removeprefix("dnsworker.")
    if task.exception and not task.result:
        task.result = _reason(task.exception)
    elif task.result:
        is_answer = task.result.startswith(("{", "["))
        task.result = _cut(task.result) if is_answer else task.result.strip("'")
    return task


def _reason(exception: str) -> str:
    """`OperationFailed('RecordExists: …')` without the exception's name."""
    return _cut(exception.partition("(")[2].rstrip(")").strip("'\"") or exception)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
