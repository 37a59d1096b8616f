"""A command in this process: its own environment and output, and nothing of it afterwards."""

from __future__ import annotations

import os
import threading

import pytest

from dev.commands import run_here
from dnsworker.cli import cli


def test_a_command_has_the_environment_that_is_given_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", "nothing of the kind")
    before = dict(os.environ)
    said = run_here(["zone", "list"], {"DNSWORKER_DATA_DIR": "/nowhere"})
    assert (said.code, said.stdout) == (1, "")
    assert "no dnsworker in /nowhere yet" in said.stderr == said.both
    assert os.environ == before
    assert capsys.readouterr() == ("", "")


def test_commands_of_several_threads_take_turns() -> None:
    said: dict[str, str] = {}

    def run(folder: str) -> None:
        said[folder] = run_here(["zone", "list"], {"DNSWORKER_DATA_DIR": folder}).stderr

    threads = [threading.Thread(target=run, args=(f"/nowhere{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == len(threads)
    assert all(f"no dnsworker in {folder} yet" in words for folder, words in said.items())


def test_what_interrupts_a_command_interrupts_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands["status"], "callback", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_here(["status"], {})
