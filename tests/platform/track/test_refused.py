"""What MLflow does not take holds nothing else back, and is told once."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from mimlab.storage.folders import SubmissionFolder
from mimlab.track import tags
from mimlab.track.catch_up import catch_up
from mimlab.track.sent import Sent

TOP1 = "probe/knn/top1"


def with_long_name(lab, name: str) -> SubmissionFolder:
    """A submission whose data set has a name that MLflow refuses where a probe mentions it."""
    submission = lab.written()
    [record] = lab.trials(submission.record())
    data = {"data": {"images": f"/data/{name}"}}
    changed = record.model_copy(update={"resolved": record.resolved | data})
    lab.store.write_record(f"trials/{record.id}/trial.json", changed)
    return submission


def test_a_refused_probe_holds_neither_curves_boards_nor_the_end_back(
    lab, caplog: pytest.LogCaptureFixture
) -> None:
    submission = with_long_name(lab, "x" * 600)
    [trial] = submission.trials()
    view = lab.view(submission.record(), [trial.record()])
    lab.status(trial, "running")
    points = lab.points(trial, 20)
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.5)
    lab.board(trial, 100)
    with caplog.at_level(logging.WARNING):
        assert view.sync() == 20
        lab.points(trial, 10)
        assert view.sync() == 10
        lab.status(trial, "finished")
        started = time.monotonic()
        assert not view.close(timeout_s=30.0)
    assert time.monotonic() - started < 10.0  # it does not wait for what is refused
    assert view.behind
    assert view.last_error.startswith(f"trial {trial.id}: probe knn at step 100 refused: ")
    assert caplog.text.count("probe knn at step 100") == 1
    run = lab.run(trial)
    assert run.info.status == "FINISHED"
    assert lab.history(trial, "train/loss")[19][0] == points[-1].step
    assert len(lab.history(trial, "train/loss")) == 30
    assert list((Path(run.info.artifact_uri) / "images").glob("*.png"))


def test_a_probe_that_is_accepted_later_is_sent_then(lab) -> None:
    submission = with_long_name(lab, "x" * 600)
    [trial] = submission.trials()
    lab.status(trial, "finished")
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.5)
    lab.probe(trial.file("probes"), 200, key=TOP1, value=0.6)
    sent = Sent()
    problems = catch_up(submission, lab.uri, sent)
    assert [problem.split(": ")[1] for problem in problems] == [
        "probe knn at step 100 refused",
        "probe knn at step 200 refused",
    ]
    assert sent.probes == 0 and tags.PROBES not in lab.run(trial).data.tags
    with_long_name(lab, "digits")
    again = Sent()
    assert catch_up(submission, lab.uri, again) == []
    assert again == Sent(probes=2)
    assert [value for _, _, value in lab.history(trial, TOP1)] == [0.5, 0.6]


@pytest.mark.slow
def test_a_server_without_a_place_for_files_shows_all_else(
    make_lab, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers every upload with an error of its own, as one without its bucket does."""
    # It closes the connection after each, which only the next request notices.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    lab = make_lab(server.uri)
    submission = lab.written()
    [trial] = submission.trials()
    view = lab.view(submission.record(), [trial.record()])
    lab.points(trial, 20)
    lab.board(trial, 100)
    lab.status(trial, "finished")
    files = server.folder / "files"
    aside = files.rename(server.folder / "aside") if files.exists() else None
    files.write_text("no folder")
    try:
        assert view.sync() == 20
    finally:
        files.unlink()
        if aside:
            aside.rename(files)
    for item in ("the submission: environment.json", f"{trial.id}: resolved.yaml"):
        assert f"{item} refused: " in view.last_error
    assert "board" in view.last_error
    run = lab.run(trial)
    assert (run.info.status, len(lab.history(trial, "train/loss"))) == ("FINISHED", 20)
    view.sync()
    assert view.behind  # it is not asked again at once
    assert view.close()
    paths = {file.path for file in lab.client.list_artifacts(run.info.run_id)}
    assert paths == {"images", "resolved.yaml"}
    assert lab.run(trial).data.tags[tags.OPENED] == "true"
