"""The Markdown note of an experiment: the question, how to read it, where to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from mimlab.storage.records import SubmissionRecord
from mimlab.track import tags

MAX_COMPARED = 60
"""Run ids are 35 characters each; addresses above about 4,000 fail in some proxies."""


def compare_link(run_ids: Sequence[str], experiment_ids: Sequence[str]) -> str:
    """Address, relative to MLflow's page, of its side-by-side view of some runs."""
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    experiments = quote(json.dumps(list(experiment_ids), separators=(",", ":")))
    return f"#/compare-runs?runs={runs}&experiments={experiments}"


def charts_link(experiment_id: str, submission_id: str) -> str:
    """Address, relative to MLflow's page, of the curves of a submission's trials."""
    query = quote(f"tags.`{tags.SUBMISSIONS}` LIKE '%{submission_id}%'")
    return f"#/experiments/{experiment_id}/runs?searchFilter={query}&compareRunsMode=CHART"


def experiment_note(
    submission: SubmissionRecord,
    *,
    experiment_id: str,
    run_ids: Sequence[str],
    experiment_ids: Sequence[str],
) -> str:
    """The note, for the latest submission; `run_ids` are its trials' runs so far."""
    lines = [
        f"**{submission.question}**",
        "",
        f"- [Curves of all trials]({charts_link(experiment_id, submission.id)}) "
        f"of submission `{submission.id}`.",
    ]
    if 2 <= len(run_ids) <= MAX_COMPARED:
        link = compare_link(run_ids, experiment_ids)
        lines.append(f"- [Trials side by side]({link}): parameters and last values.")
    lines += [
        "- Compare `probe/knn/top1` and `probe/linear/top1` at equal `train/images` or "
        "`train/visible_tokens`; a training loss compares trials of one target and one ratio only.",
        "- `mask/ratio_realised` is what was hidden, whatever was asked; average over seeds.",
        "- A child run is a trial for life: a resume goes on in it, a fork is another run.",
    ]
    return "\n".join(lines) + "\n"
