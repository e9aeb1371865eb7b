"""What a person sees who opens a study in MLflow's page and follows the links of its note."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import JournalPoint, SubmissionRecord, TrialRecord, TrialsRecord
from mimlab.track import tags
from mimlab.track.shared_view import experiment_link

CHROMIUM = Path("/usr/bin/chromium")
PICTURES = os.environ.get("MIMLAB_SCREENSHOTS")
"""A folder that keeps what the browser showed."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium to open the page in"),
]


def study_of(lab) -> tuple[SubmissionRecord, list[TrialRecord]]:
    """Two maskings at two ratios with two seeds, trained to their ends, with probes and boards."""
    submission = lab.submission(trials=8)
    trials = [
        record.model_copy(
            update={
                "seed": i % 2,
                "point": {"masking.name": name, "masking.ratio": ratio},
                "resolved": record.resolved | {"masking": {"name": name, "ratio": ratio}},
                "identity": {
                    "masking.name": name,
                    "masking.ratio": str(ratio),
                    "objective.name": "mae",
                    "seed": str(i % 2),
                },
            }
        )
        for i, (record, (name, ratio)) in enumerate(
            zip(
                lab.trials(submission),
                [(n, r) for n in ("random", "block") for r in (0.5, 0.75) for _ in range(2)],
                strict=True,
            )
        )
    ]
    folder = SubmissionFolder(lab.store, submission.id)
    lab.store.write_record(folder.file("trials.json"), TrialsRecord(trials=trials))
    for trial in trials:
        _train(lab, trial)
    return submission, trials


def _train(lab, record: TrialRecord) -> None:
    trial = TrialFolder(lab.store, record.id)
    lab.store.write_record(trial.file("trial.json"), record)
    ratio = record.resolved["masking"]["ratio"]
    good = 0.05 * record.seed + (0.2 if record.resolved["masking"]["name"] == "block" else 0.1)
    lines = [
        JournalPoint(
            seq=seq,
            time_ms=1_700_000_000_000 + 1000 * seq,
            step=10 * seq,
            metrics={
                "train/loss": ratio + math.exp(-seq / 15) - good,
                "train/images": 640.0 * seq,
                "train/images_per_s": 900.0 + 200 * ratio,
                "mask/ratio_realised": ratio,
            },
        )
        for seq in range(1, 61)
    ]
    data = b"".join(point.model_dump_json().encode() + b"\n" for point in lines)
    lab.store.write(trial.file("journal/000000001.jsonl"), data)
    for step in (200, 400, 600):
        score = 0.4 + good + 0.3 * ratio * (1 - math.exp(-step / 200))
        lab.probe(trial.file("probes"), step, key="probe/knn/top1", value=score)
        lab.board(trial, step)
    lab.status(trial, "finished")


@pytest.fixture
def page(lab_page: tuple) -> Iterator:
    """Chromium on the experiment; what the page itself reports as broken fails the test."""
    from playwright.sync_api import sync_playwright

    _, address = lab_page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(address)
        yield page
        browser.close()


@pytest.fixture
def lab_page(server, make_lab, monkeypatch: pytest.MonkeyPatch) -> tuple:
    """A study that was shown, and the address of its experiment."""
    monkeypatch.setenv("MIMLAB_DASHBOARD_URL", "http://127.0.0.1:8900")
    lab = make_lab(server.uri)
    submission, trials = study_of(lab)
    view = lab.view(submission, trials)
    assert view.close(60.0), view.last_error
    experiment = lab.client.get_experiment_by_name(lab.study)
    return lab, f"{server.uri}/{experiment_link(experiment.experiment_id)}"


def picture(page, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES, f"{name}.png"))


def follow(page, lab, words: str) -> None:
    """Open the address that the experiment's note has under these words."""
    experiment = lab.client.get_experiment_by_name(lab.study)
    assert experiment is not None
    found = re.search(rf"\[{words}\]\(([^)]+)\)", experiment.tags[tags.NOTE])
    assert found is not None
    page.goto(f"{lab.uri}/{found[1]}")


def test_the_note_leads_to_charts_trials_boards_and_report(lab_page, page) -> None:
    lab, _ = lab_page
    page.get_by_role("link", name="Maskings compared").wait_for()
    page.get_by_role("link", name=f"{lab.study}-first").wait_for()
    picture(page, "experiment")

    follow(page, lab, "Maskings compared")
    for words in ("Probes", "Masks", "Training", "probe/knn/top1"):
        page.get_by_text(words, exact=True).first.wait_for()
    for cell in ("random 0.5", "random 0.75", "block 0.5", "block 0.75"):
        page.get_by_text(cell).first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    picture(page, "maskings")

    follow(page, lab, "Trials")
    for words in ("masking.name", "probe/knn/top1", "block 0.75 s1"):
        page.get_by_text(words).first.wait_for()
    picture(page, "trials")

    follow(page, lab, "Boards")
    page.locator("img[src*='board']").first.wait_for()
    picture(page, "boards")

    follow(page, lab, "Report")
    report = page.frame_locator("iframe").first
    report.get_by_text("Does block masking beat random?").first.wait_for()
    picture(page, "report")
