"""A Ray that is not up in time is started again; what else it raises is not hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from mimlab.errors import NotNow
from mimlab.search import cluster


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """What the next starts raise; the first that raises nothing is up."""
    to_come: list[Exception | None] = []

    def init(**_: object) -> None:
        error = to_come.pop(0)
        if error is not None:
            raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_quieten", lambda: None)
    return to_come


LATE = Exception("The current node timed out during startup. This could happen because …")


def test_a_late_start_is_tried_again(tries: list[Exception | None]) -> None:
    tries += [LATE, None, LATE]
    cluster._start()
    assert tries == [LATE]


def test_a_machine_that_stays_too_busy_is_one_message(
    tries: list[Exception | None], tmp_path: Path
) -> None:
    tries += [LATE] * cluster.STARTS
    with pytest.raises(NotNow, match="did not start on this machine in 3 tries"):
        cluster.local_cluster(tmp_path).__enter__()
    assert tries == []


def test_another_failure_is_told_as_it_is(tries: list[Exception | None]) -> None:
    tries += [ValueError("no such address"), None]
    with pytest.raises(ValueError, match="no such address"):
        cluster._start()
