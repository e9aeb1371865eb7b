"""The notes that MLflow shows."""

import json
from urllib.parse import parse_qs, urlsplit

from mimlab.track.note import (
    MAX_COMPARED,
    Shown,
    compare_link,
    experiment_note,
    submission_note,
    trial_note,
)


def shown(*, count: int = 4, dashboard: str = "", report: bool = False) -> Shown:
    return Shown(
        experiment_id="7",
        parent_id="p" * 32,
        run_ids=tuple(f"{i:032x}" for i in range(count)),
        experiment_ids=("7",),
        dashboard=dashboard,
        report=report,
    )


def test_the_comparison_address_holds_json_lists() -> None:
    link = compare_link(["a1", "b2"], ["7"])
    assert link.startswith("#/")
    query = parse_qs(urlsplit(link[1:]).query)
    assert json.loads(query["runs"][0]) == ["a1", "b2"]
    assert json.loads(query["experiments"][0]) == ["7"]


def test_the_note_asks_the_question_and_leaves_out_an_address_that_is_too_long(lab) -> None:
    def note(count: int) -> str:
        return experiment_note(lab.submission(), shown(count=count))

    assert note(4).startswith("**Does block masking beat random?**")
    assert "compare-runs" in note(MAX_COMPARED)
    assert "compare-runs" not in note(MAX_COMPARED + 1)
    assert "compare-runs" not in note(1)


def test_the_note_links_only_to_what_is_there(lab) -> None:
    submission = lab.submission()
    assert experiment_note(submission, shown()).splitlines()[0].count("](") == 3
    without = experiment_note(submission, shown())
    assert "viewStateShareKey=mimlab-maskings" in without
    assert "report.html" not in without
    assert "ashboard" not in without
    both = experiment_note(submission, shown(dashboard="https://lab.example", report=True))
    assert f"#/experiments/7/runs/{'p' * 32}/artifacts/report.html" in both
    assert f"https://lab.example/submissions/{submission.id}" in both


def test_a_trial_says_what_it_was_forked_from_and_where_it_can_be_resumed(lab) -> None:
    submission = lab.submission()
    [trial] = lab.trials(submission)
    assert trial_note(trial, submission.id, "") == ""
    fork = trial.model_copy(update={"parent": "b0a87f9f5ab4"})
    note = trial_note(fork, submission.id, "https://lab.example")
    assert "Forked from trial `b0a87f9f5ab4`." in note
    link = f"https://lab.example/trials/{trial.id}?submission={submission.id}"
    assert f"({link})" in note
    assert submission_note(submission, "") == submission.question
