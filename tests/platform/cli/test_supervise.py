"""`mimlab supervise`: the driver and its Ray die, and the study ends as if they had not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil
import pytest

pytestmark = pytest.mark.slow

LOST_WITHIN_S = 60.0


def below(supervisor: Any, name: str) -> psutil.Process | None:
    """The first process below a supervisor whose program or words hold `name`."""
    for process in psutil.Process(supervisor.pid).children(recursive=True):
        try:
            if any(name in word for word in process.cmdline()[:4]):
                return process
        except psutil.Error:
            continue
    return None


def kill_below(supervisor: Any, name: str) -> psutil.Process:
    found = below(supervisor, name)
    assert found is not None, f"no {name} below the supervisor"
    found.kill()
    return found


def driver_of(supervisor: Any) -> psutil.Process:
    (driver,) = psutil.Process(supervisor.pid).children()
    return driver


def wait_for(met: Callable[[], bool], seconds: float) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


class Supervised(NamedTuple):
    """A study whose driver was killed in the first trial, and whose head died in the second."""

    lab: Any
    said: Any
    lost_s: float
    """From the head's death to the driver's."""


@pytest.fixture(scope="module")
def supervised(make_lab) -> Supervised:
    lab = make_lab()
    supervisor = lab.start("supervise", "tiny.yaml")
    lab.mid_training(0, supervisor)
    driver_of(supervisor).kill()
    lab.mid_training(1, supervisor)
    driver = driver_of(supervisor)
    kill_below(supervisor, "gcs_server")
    lost_s = wait_for(lambda: not driver.is_running(), 3 * LOST_WITHIN_S)
    return Supervised(lab, supervisor.ended(), lost_s)


def test_the_study_is_done_and_each_death_is_a_line(supervised) -> None:
    said = supervised.said
    assert said.code == 0, said
    told = [line for line in said.err.splitlines() if line.startswith("supervise: ")]
    assert told == [
        "supervise: the driver was killed by SIGKILL; start 2 in 1 s",
        "supervise: the driver was interrupted; start 3 in 1 s",
    ]
    assert "error: the Ray on this machine is lost: " in said.err
    assert "Traceback" not in said.words
    assert supervised.lab.states == ["finished", "finished"]


def test_a_lost_head_is_noticed_soon(supervised) -> None:
    assert supervised.lost_s <= LOST_WITHIN_S


def test_the_weights_are_those_that_would_have_been(supervised, reference) -> None:
    assert supervised.lab.ended_as(reference.lab)


def test_the_curves_have_no_gap_and_nothing_twice(supervised) -> None:
    for trial in supervised.lab.trials:
        supervised.lab.assert_shown_once(trial)
        assert supervised.lab.shown(trial).info.status == "FINISHED"
    assert supervised.lab.shown(supervised.lab.submission).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("stop", "code", "state"), [("interrupt", 1, "stopped"), ("terminate", 75, "preempted")]
)
def test_a_stop_reaches_the_driver_which_saves(make_lab, stop: str, code: int, state: str) -> None:
    lab = make_lab()
    supervisor = lab.start("supervise", "tiny.yaml")
    lab.mid_training(0, supervisor)
    driver = driver_of(supervisor)
    getattr(supervisor, stop)()
    said = supervisor.ended()
    assert said.code == code, said
    assert said.err == "" and "saving checkpoints" in said.out
    assert "ending at once" not in said.out
    assert not driver.is_running()
    assert lab.states == [state, state]
    assert lab.trials[0].steps("checkpoints")[-1] >= lab.trials[0].status().step > 0
    assert lab.shown(lab.trials[0]).info.status == "KILLED"


def test_bad_input_is_refused_once(make_lab) -> None:
    lab = make_lab("study: tiny\n")
    for target in ("tiny.yaml", "nothing.yaml", "nothing"):
        said = lab.call("supervise", target)
        assert said.code == 2, said
        assert said.err.startswith("error: ") and said.err.count("error: ") == 1
        assert "supervise: " not in said.err
