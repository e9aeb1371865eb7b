"""Memory that runs out ends a trial with figures and a remedy, not with three more attempts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError, RayTaskError

from mimlab.errors import TrialError
from mimlab.search.host_memory import HostMemory
from mimlab.storage.control import Outcome, read_outcome, write_outcome
from mimlab.train.config import TrainConfig
from mimlab.train.memory import out_of_memory, ran_out, remedy
from mimlab.train.session import Session

MORE_THAN_ANY_MACHINE = 1 << 46


def trial_config(batch_size: int, accumulate: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {"budget": {"steps": 1}, "batch_size": batch_size, "accumulate": accumulate}
    )


def test_memory_that_is_not_there_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(MORE_THAN_ANY_MACHINE)
    assert ran_out(caught.value)
    with pytest.raises(MemoryError) as python:
        bytearray(MORE_THAN_ANY_MACHINE)
    assert ran_out(python.value)
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert not ran_out(RuntimeError("shapes do not match"))


@given(
    batch_size=st.integers(1, 4096), accumulate=st.integers(1, 64), world=st.sampled_from([1, 2, 8])
)
def test_the_remedy_is_legal_and_needs_less(batch_size: int, accumulate: int, world: int) -> None:
    config = trial_config(batch_size, min(accumulate, batch_size))
    said = remedy(config, world)
    numbers = re.findall(r"\d+", said)
    if not numbers:
        assert batch_size <= world * config.accumulate
        return
    held, better, fewer, batch = map(int, numbers)
    assert (better, batch) == (2 * config.accumulate, batch_size)
    assert 1 <= fewer < held <= batch_size


def test_the_end_has_the_figures_of_the_host() -> None:
    error = out_of_memory(torch.device("cpu"), trial_config(64, 1), 1)
    assert error.state == "failed"
    figures = r"out of memory on the host: [\d.]+ GiB of [\d.]+ GiB in use, [\d.]+ GiB by this"
    assert re.match(figures, str(error))
    assert "`train: {accumulate: 2}` makes that 32, and the batch remains 64" in str(error)


def test_a_step_that_does_not_fit_ends_the_trial(session_of: Callable[..., Session]) -> None:
    session = session_of()

    def greedy(*_: object) -> None:
        torch.empty(MORE_THAN_ANY_MACHINE)

    session.objective.register_forward_pre_hook(greedy)
    with pytest.raises(TrialError, match=r"out of memory on the host: .* `train: \{accumulate: 2"):
        session.run()


@pytest.fixture
def trial(tmp_path: Path, create_tiny: Callable):
    return create_tiny(tmp_path).trial


def test_a_worker_that_ray_ended_for_its_memory_is_not_tried_again(trial) -> None:
    killed = OutOfMemoryError("Memory on the node was 22.9GB / 23.4GB (0.98)\nmore lines")
    watch = HostMemory(trial, "train less")
    watch.after_exception(None, {0: RuntimeError("a peer died"), 1: killed})
    reason = read_outcome(trial)
    assert reason is not None and reason.state == "failed"
    assert reason.reason.startswith("out of memory on the host: ")
    assert reason.reason.endswith("; train less") and "\n" not in reason.reason


def test_the_cause_of_an_error_counts(trial) -> None:
    killed = OutOfMemoryError("Memory on the node was 22.9GB / 23.4GB")
    HostMemory(trial, "").after_exception(None, {0: RayTaskError("train", "", killed)})
    assert read_outcome(trial) is not None


def test_other_deaths_are_left_to_ray(trial) -> None:
    HostMemory(trial, "").after_exception(None, {0: RuntimeError("actor died")})
    assert read_outcome(trial) is None


def test_an_outcome_that_a_worker_wrote_stays(trial) -> None:
    own = Outcome(state="finished", step=3)
    write_outcome(trial, own)
    HostMemory(trial, "").after_exception(None, {0: OutOfMemoryError("late")})
    assert read_outcome(trial) == own
