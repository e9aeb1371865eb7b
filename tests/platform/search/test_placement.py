"""No trial starts that something it needs could be missing for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.search.placement import Capacity, concurrent_trials, cpus_of_trial
from mimlab.search.scaling import workers_in
from mimlab.spec.study import Resources


def test_a_laptop_of_two_cores_runs_one_trial_with_one_worker() -> None:
    found = concurrent_trials(Resources(), Capacity(2.0, 0.0), num_trials=4, probes=True)
    assert found == 1


def test_a_study_that_asks_for_fewer_at_once_gets_fewer() -> None:
    resources = Resources(concurrent_trials=3)
    found = concurrent_trials(resources, Capacity(64.0, 0.0), num_trials=10, probes=True)
    assert found == 3


def test_too_small_a_cluster_is_refused_with_what_would_fit() -> None:
    with pytest.raises(UserError) as caught:
        concurrent_trials(
            Resources(cpus_per_worker=2), Capacity(2.0, 0.0), num_trials=1, probes=True
        )
    message = str(caught.value)
    assert "this cluster has 2" in message
    assert "set resources.cpus_per_worker to at most 1" in message


def test_missing_gpus_are_refused_by_their_number() -> None:
    resources = Resources(workers=4, gpus_per_worker=1)
    with pytest.raises(UserError, match=r"needs 4 GPUs .* has 1"):
        concurrent_trials(resources, Capacity(64.0, 1.0), num_trials=1, probes=False)


def test_decoding_in_tasks_needs_a_core_beside_the_workers() -> None:
    resources = Resources(cpus_per_worker=2)
    without = cpus_of_trial(resources, probes=True)
    assert cpus_of_trial(resources, probes=True, decode=True) == without + 1


@given(
    workers=st.integers(1, 8),
    cpus=st.floats(0.1, 4.0),
    capacity=st.floats(1.0, 128.0),
    num_trials=st.integers(1, 50),
    probes=st.booleans(),
)
def test_what_runs_at_once_fits(workers, cpus, capacity, num_trials, probes) -> None:
    resources = Resources(workers=workers, cpus_per_worker=cpus)
    try:
        found = concurrent_trials(
            resources, Capacity(capacity, 0.0), num_trials=num_trials, probes=probes
        )
    except UserError:
        assert cpus_of_trial(resources, probes=probes) > capacity - 1e-3
    else:
        assert 1 <= found <= num_trials
        assert found * cpus_of_trial(resources, probes=probes) <= capacity + 1e-3


def between(fewest: int, most: int, **others: float) -> Resources:
    return Resources.model_validate({"workers": {"min": fewest, "max": most}, **others})


def test_trials_of_a_range_are_counted_with_all_the_workers_that_they_may_have() -> None:
    for cpus, at_once in ((10.0, 2), (6.0, 1), (2.0, 1)):
        found = concurrent_trials(between(1, 4), Capacity(cpus, 0.0), num_trials=8, probes=True)
        assert found == at_once


def test_a_range_is_refused_where_not_even_its_fewest_workers_fit() -> None:
    with pytest.raises(UserError, match=r"needs 2 GPUs \(2 workers × 1\), this cluster has 1"):
        concurrent_trials(
            between(2, 4, gpus_per_worker=1), Capacity(64.0, 1.0), num_trials=1, probes=True
        )


@given(
    nodes=st.lists(st.integers(0, 8), max_size=4),
    cpus=st.sampled_from([0.1, 0.5, 1.0, 1.5]),
    beside=st.sampled_from([0.0, 0.95, 1.95]),
)
def test_workers_leave_room_for_what_a_trial_needs_beside_them(nodes, cpus, beside) -> None:
    """Nodes that hold whole workers, the first of them also the rest."""
    reserved = [{"CPU": count * cpus} for count in nodes]
    if reserved:
        reserved[0]["CPU"] += beside
    assert workers_in(reserved, {"CPU": cpus}, beside_cpus=beside) == sum(nodes)


def test_the_scarcer_resource_counts() -> None:
    nodes = [{"CPU": 8.95, "GPU": 2.0}, {"CPU": 3.0, "GPU": 8.0}, {"CPU": 64.0}]
    assert workers_in(nodes, {"CPU": 1.0, "GPU": 1.0}, beside_cpus=0.95) == 2 + 3
