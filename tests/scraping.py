"""What a process answers at its `/metrics` and `/health/…`, as values."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0
#: A sample's labels, for a dictionary's key.
Labels = frozenset[tuple[str, str]]


def get(url: str) -> tuple[int, str]:
    """(status, body)."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def health(url: str, what: str) -> tuple[int, dict[str, Any]]:
    status, body = get(f"{url}/health/{what}")
    return status, json.loads(body)


class Scraped:
    """The samples of several processes, added up."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.samples: dict[str, Counter[Labels]] = {}
        for text in texts:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = frozenset(sample.labels.items())
                    self.samples.setdefault(sample.name, Counter())[labels] += sample.value

    @classmethod
    def of(cls, *urls: str) -> Scraped:
        found = [get(f"{url}/metrics") for url in urls]
        assert [status for status, _ in found] == [200] * len(urls)
        return cls(text for _, text in found)

    def by(self, name: str, *labels: str) -> dict[Any, float]:
        """Added up by these labels, without what is 0; by one label, by its bare value."""
        found: Counter[Any] = Counter()
        for key, value in self.samples.get(name, {}).items():
            given = dict(key)
            kept = tuple(given[label] for label in labels)
            found[kept[0] if len(kept) == 1 else kept] += value
        return {key: value for key, value in found.items() if value}

    def one(self, name: str, **labels: str) -> float:
        """The one sample with these labels among its own. Raises `KeyError` for none."""
        wanted = set(labels.items())
        found = [value for key, value in self.samples.get(name, {}).items() if wanted <= key]
        if len(found) != 1:
            raise KeyError(f"{len(found)} samples of {name} {labels}")
        return float(found[0])

    def total(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return float(sum(value for key, value in self.samples.get(name, {}).items() if wanted <= key))


def lint(text: str) -> str:
    """What `promtool check metrics` finds; nothing where it is content."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def is_at_least(after: Mapping[Any, float], before: Mapping[Any, float]) -> bool:
    """Whether no count has fallen."""
    return all(after.get(key, 0) >= value for key, value in before.items())
