"""What a probe costs is known without running all of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mimlab.search.probe_cost import probe_seconds
from mimlab.spec.study import trial_spec


@pytest.mark.parametrize("kind", ["attentive", "finetune"])
def test_a_million_epochs_are_reckoned_from_one(exported: Callable, kind: str) -> None:
    made = exported([24], f"probes=[{{name: {kind}, at: end, epochs: 1000000}}]")
    (probe,) = trial_spec(made.order.spec).probes
    started = time.perf_counter()
    seconds = probe_seconds(made.order, made.trial, probe)
    # A step of either takes at least a millisecond, and an epoch has eleven.
    assert seconds > 1000 > time.perf_counter() - started
    assert made.trial.probes() == []


def test_a_short_probe_is_run_as_it_is(exported: Callable) -> None:
    made = exported([24])
    (probe,) = trial_spec(made.order.spec).probes
    started = time.perf_counter()
    seconds = probe_seconds(made.order, made.trial, probe)
    assert 0 < seconds <= time.perf_counter() - started
    assert made.trial.probes() == []
