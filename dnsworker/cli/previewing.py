"""What `--dry-run` says, and what is shown before a restore is confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnsworker.cli import output
from dnsworker.cli.program import DONE, FAILED
from dnsworker.cli.rrsets import counted, print_changes
from dnsworker.cli.session import Session

if TYPE_CHECKING:
    from dnsworker.operations import Preview

#: RRsets that people are shown.
SHOWN = 100


def tell_preview(session: Session, subject: str, preview: Preview) -> int:
    """What would be done, or why it would be refused; the exit code that says so."""
    code = FAILED if preview.is_refused else DONE
    if session.as_json:
        document = preview.model_dump(mode="json")
        output.print_json({"dry_run": True, "is_refused": preview.is_refused, **document})
    elif preview.is_refused:
        output.say(f"{subject}  would be refused: {preview.code}: {preview.message}", err=True)
    else:
        show_preview(subject, preview)
        output.say("Nothing was done.")
    return code


def show_preview(subject: str, preview: Preview) -> None:
    """For people: in one line, then the RRsets."""
    now = "" if preview.current_serial is None else f", now {preview.current_serial}"
    output.say(f"{subject}  would {_what(preview)} (serial {preview.serial}{now})")
    shown = len(preview.rrsets)
    more = preview.created + preview.updated + preview.deleted - shown
    print_changes(preview.rrsets, preview.settings, more=more, limit=SHOWN)
    if preview.targets:
        output.say(f"  to be written to {', '.join(preview.targets)}")


def _what(preview: Preview) -> str:
    if not preview.has_changes:
        return "change nothing"
    said = {"created": "be created", "deleted": "be deleted", "moved": f"be moved to pool {preview.pool}"}
    becomes = said.get(preview.becomes or "", "be changed")
    count = counted(preview.created, preview.updated, preview.deleted)
    return f"{becomes}: {count}" if count else becomes
