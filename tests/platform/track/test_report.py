"""The comparison's report as a file of the parent run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.storage.folders import SubmissionFolder
from mimlab.track import tags


@pytest.fixture
def parent_file(lab):
    def path() -> Path:
        folder = SubmissionFolder(lab.store, f"{lab.study}-first")
        return Path(lab.run(folder).info.artifact_uri, "report.html")

    return path


def test_it_comes_with_the_end_of_the_driver_and_is_linked(lab, parent_file) -> None:
    view, [trial] = lab.opened()
    lab.points(trial, 5)
    lab.probe(trial.file("probes"), 50, key="probe/knn/top1", value=0.5)
    lab.status(trial, "finished")
    view.sync()
    assert not parent_file().exists(), "a driver that goes on makes no report at once"
    assert view.close(), view.last_error
    assert "Does block masking beat random?" in parent_file().read_text()
    parent = lab.run(SubmissionFolder(lab.store, f"{lab.study}-first"))
    note = lab.client.get_experiment(parent.info.experiment_id).tags[tags.NOTE]
    assert f"{parent.info.run_id}/artifacts/report.html" in note


def test_the_next_driver_makes_it_again_only_if_other_trials_have_ended(lab, parent_file) -> None:
    view, [first, second] = lab.opened(trials=2)
    lab.points(first, 5)
    lab.status(first, "finished")
    assert view.close(), view.last_error
    parent_file().write_text("as it was")
    view, _ = lab.opened(trials=2)
    assert view.close()
    assert parent_file().read_text() == "as it was"
    lab.points(second, 5)
    lab.status(second, "failed", reason="no memory")
    view, _ = lab.opened(trials=2)
    assert view.close(), view.last_error
    assert "no memory" in parent_file().read_text() or len(parent_file().read_text()) > 1000


def test_while_trials_go_on_it_is_made_every_now_and_then(
    lab, parent_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimlab.track.report.FIRST_WAIT_S", 0.0)
    view, [first, _] = lab.opened(trials=2)
    view.sync()
    assert not parent_file().exists(), "no trial has ended yet"
    lab.points(first, 5)
    lab.status(first, "finished")
    view.sync()
    assert parent_file().exists()
