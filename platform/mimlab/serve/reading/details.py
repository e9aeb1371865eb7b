"""Everything about one trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mimlab.serve.reading.checkpoints import checkpoints_of
from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.mlflow_watch import MlflowWatch
from mimlab.serve.reading.models import (
    Difference,
    Relative,
    TrialDetail,
    TrialSummary,
)
from mimlab.serve.reading.yaml_text import leaves, yaml_lines
from mimlab.storage.records import MlflowLink, StatusRecord, TrialRecord
from mimlab.track.shared_view import experiment_link, run_link

LOG_LINES = 200
_NOT_COMPARED = ("seed",)


def detail_of(
    files: CachedFiles,
    submission_id: str,
    summary: TrialSummary,
    record: TrialRecord,
    status: StatusRecord,
    siblings: Sequence[TrialRecord],
    lineage: list[Relative],
    mlflow: MlflowWatch,
) -> TrialDetail:
    """`siblings`: the other trials of its submission."""
    differences = differences_of(record, siblings)
    lines = list(yaml_lines(record.resolved))
    keys = {difference.key for difference in differences}
    link = files.record(f"trials/{record.id}/mlflow.json", MlflowLink)
    return TrialDetail(
        summary=summary,
        submission=submission_id,
        resolved_text="\n".join(line for _, line in lines) + "\n",
        differing_lines=[i for i, (path, _) in enumerate(lines) if path in keys],
        differences=differences,
        lineage=lineage,
        checkpoints=checkpoints_of(files, record.id),
        log_tail=log_tail(files, record.id),
        mlflow_uri=link.tracking_uri if link else None,
        mlflow_link=run_page(link, mlflow),
        mlflow_problem=mlflow.problem(link.tracking_uri) if link else "",
        differs=status.differs,
        parent_step=record.parent_step,
        drift=record.start.drift if record.start else [],
    )


def differences_of(record: TrialRecord, siblings: Iterable[TrialRecord]) -> list[Difference]:
    """Keys in which a sibling is unlike this trial, its seed apart."""
    own = dict(leaves(record.resolved))
    others = [dict(leaves(sibling.resolved)) for sibling in siblings]
    keys = dict.fromkeys([*own, *(key for other in others for key in other)])
    found: list[Difference] = []
    for key in keys:
        if key in _NOT_COMPARED:
            continue
        value = own.get(key, "")
        unlike = dict.fromkeys(other.get(key, "") for other in others)
        unlike.pop(value, None)
        if unlike:
            found.append(Difference(key=key, value=value, others=list(unlike)))
    return found


def log_tail(files: CachedFiles, trial_id: str, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a trial's log; in a bucket each is an object of its own."""
    path = f"trials/{trial_id}/log.jsonl"
    if isinstance(files.store.root, Path):
        try:
            text = files.store.read(path).decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]
    names = files.list(path)[-lines:]
    return [text.strip() for text in files.texts([f"{path}/{name}" for name in names])]


def run_page(link: MlflowLink | None, mlflow: MlflowWatch) -> str | None:
    """The address of a run's page; None where MLflow is a local database, which has no page."""
    return _page(link, mlflow, run_link(link.experiment_id, link.run_id)) if link else None


def experiment_page(link: MlflowLink | None, mlflow: MlflowWatch) -> str | None:
    """The same of the experiment that a run is in."""
    return _page(link, mlflow, experiment_link(link.experiment_id)) if link else None


def _page(link: MlflowLink, mlflow: MlflowWatch, address: str) -> str | None:
    has_page = link.tracking_uri.startswith(("http://", "https://"))
    return f"{(mlflow.page or link.tracking_uri).rstrip('/')}/{address}" if has_page else None
