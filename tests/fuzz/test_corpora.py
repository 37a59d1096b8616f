"""Every input that fuzzing has kept, and some new ones of the same kind, end without a finding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import corpora
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_before_is_no_finding(target: str) -> None:
    inputs = corpora.load(target)
    assert inputs
    for octets in inputs:
        TARGETS[target](octets)


@pytest.mark.parametrize("target", TARGETS)
def test_spoiled_inputs_are_no_finding(target: str) -> None:
    inputs = corpora.load(target)

    @settings(max_examples=200)
    @given(st.sampled_from(inputs), st.binary(max_size=6), st.integers(0, 200), st.integers(0, 8))
    def run(octets: bytes, inserted: bytes, position: int, removed: int) -> None:
        position = min(position, len(octets))
        TARGETS[target](octets[:position] + inserted + octets[position + removed :])

    run()
