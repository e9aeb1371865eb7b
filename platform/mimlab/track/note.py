"""The Markdown notes that MLflow shows: of the experiment, of a submission and of a trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mimlab.storage.records import SubmissionRecord, TrialRecord
from mimlab.track import dashboard, shared_view
from mimlab.track.comparison_view import MASKINGS, TRIALS

MAX_COMPARED = 60
"""Run ids are 35 characters each; addresses above about 4,000 fail in some proxies."""


@dataclass(frozen=True)
class Shown:
    """What of a submission MLflow shows by now."""

    experiment_id: str
    parent_id: str
    """Run of the submission."""
    run_ids: tuple[str, ...]
    """Runs of its trials."""
    experiment_ids: tuple[str, ...]
    """Experiments that these runs are in: a reused trial stays where it was."""
    dashboard: str
    """Address; empty where none is known."""
    report: bool
    """Whether the report is there."""
    boards: tuple[frozenset[int], ...] = ()
    """Steps of the boards of each run."""


def compare_link(run_ids: Sequence[str], experiment_ids: Sequence[str]) -> str:
    """Address, relative to MLflow's page, of its side-by-side view of some runs."""
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    experiments = quote(json.dumps(list(experiment_ids), separators=(",", ":")))
    return f"#/compare-runs?runs={runs}&experiments={experiments}"


def report_link(experiment_id: str, run_id: str) -> str:
    """Address, relative to MLflow's page, of a submission's report."""
    return shared_view.run_link(experiment_id, run_id, "/artifacts/report.html")


def experiment_note(submission: SubmissionRecord, shown: Shown) -> str:
    """The note, of one submission."""
    maskings = shared_view.link(shown.experiment_id, MASKINGS, charts=True)
    trials = shared_view.link(shown.experiment_id, TRIALS, charts=False)
    boards = shared_view.link(shown.experiment_id, TRIALS, charts=True)
    links = [f"[Maskings compared]({maskings})", f"[Trials]({trials})", f"[Boards]({boards})"]
    if shown.report:
        report = report_link(shown.experiment_id, shown.parent_id)
        links.append(f"[Report]({report})")
    if shown.dashboard:
        page = dashboard.submission_link(shown.dashboard, submission.id)
        links.append(f"[Dashboard]({page})")
    # While it is folded, the page shows the first paragraph.
    lines = [f"**{submission.question or submission.study}** " + " · ".join(links)]
    lines += ["", f"Of submission `{submission.id}`:", ""]
    lines += [
        "- Maskings compared: charts of the probes, means over seeds.",
        "- Trials: settings and results in columns. Boards: the same as charts, with pictures.",
    ]
    if shown.report:
        lines.append("- Report: intervals over seeds, paired differences, cost, boards.")
    if shown.dashboard:
        lines.append("- Dashboard: stop, resume, fork and extend.")
    if 2 <= len(shown.run_ids) <= MAX_COMPARED:
        link = compare_link(shown.run_ids, shown.experiment_ids)
        lines.append(f"- [Trials side by side]({link}): parameters and last values.")
    lines += [
        "",
        "How to read it:",
        "",
        "- Compare `probe/knn/top1` and `probe/linear/top1` at equal `train/images` or "
        "`train/visible_tokens`; a training loss compares trials of one target and one ratio only.",
        "- `mask/ratio_realised` is what was hidden, whatever was asked; average over seeds.",
        "- A child run is a trial for life: a resume goes on in it, a fork is another run.",
    ]
    return "\n".join(lines) + "\n"


def submission_note(submission: SubmissionRecord, address: str) -> str:
    """Of the parent run; `address`: the dashboard's, or empty."""
    if not address:
        return submission.question
    link = dashboard.submission_link(address, submission.id)
    return (
        f"{submission.question}\n\n[Submission `{submission.id}` in the dashboard]({link})".strip()
    )


def trial_note(trial: TrialRecord, submission_id: str, address: str) -> str:
    """Of a child run; empty where it has nothing to say."""
    lines = [f"Forked from trial `{trial.parent}`."] if trial.parent else []
    if address:
        link = dashboard.trial_link(address, submission_id, trial.id)
        lines.append(f"[Trial `{trial.id}` in the dashboard]({link})")
    return "\n\n".join(lines)
