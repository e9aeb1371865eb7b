"""What a comparison shows: one row for each point of a study, over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mimlab.compare.budgets import budget_words
from mimlab.compare.probed_alike import unlike_words
from mimlab.compare.ratio_text import is_of_ratio, ratio_text
from mimlab.compare.trials import TrialResult, read_trials
from mimlab.probe.labels import label_of as label_of_probe
from mimlab.probe.labels import metric_key
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import JournalPoint, ProbeRecord, Record, TrialRecord

REALISED, SPEED = "mask/ratio_realised", "train/images_per_s"


class Row(Record):
    """A point of the study, or a baseline."""

    label: str
    """Masking and whatever else varies; a baseline's name."""
    trial_ids: list[str]
    states: list[str]
    ratio_asked: float | str | None
    """A number, or a schedule in short."""
    ratio_realised: float | None
    images_per_s: float | None
    """Median over the logged intervals of a trial, mean over seeds."""
    scores: dict[str, list[float]]
    """Metric key, e.g. `probe/knn/top1` → one value for each seed that has finished; for each one
    while none has."""

    def mean(self, key: str) -> float | None:
        values = self.scores.get(key)
        return statistics.fmean(values) if values else None


class Comparison(Record):
    """Everything that `mimlab compare` prints."""

    submission: str
    study: str
    question: str
    metrics: list[str]
    """Columns, in the order of the study's probes."""
    rows: list[Row]
    baselines: list[Row]
    best_trial: str | None
    """The finished trial with the highest score of the first metric."""
    budget: str
    """At which budget the trials are compared, in words."""
    unlike: list[str]
    """Why scores of some probes do not compare, in words."""

    @property
    def pixels_win(self) -> list[str]:
        """Metrics for which raw pixels beat every row."""
        pixels = next((b for b in self.baselines if b.label == "raw-pixels"), None)
        if pixels is None:
            return []
        return [key for key in self.metrics if _beats(pixels, self.rows, key)]


def _beats(baseline: Row, rows: Sequence[Row], key: str) -> bool:
    own, others = baseline.mean(key), [row.mean(key) for row in rows]
    best = max((score for score in others if score is not None), default=None)
    return own is not None and best is not None and own > best


def compare(submission: SubmissionFolder) -> Comparison:
    """The comparison of a submission as it stands; unfinished trials have what they have so far."""
    return compare_trials(submission, read_trials(submission))


def compare_trials(submission: SubmissionFolder, trials: Sequence[TrialResult]) -> Comparison:
    """The same, of trials that were read already."""
    record = submission.record()
    groups: dict[str, list[TrialResult]] = {}
    for trial in trials:
        groups.setdefault(label_of(trial.record), []).append(trial)
    rows = [_row(label, members) for label, members in groups.items()]
    metrics = _metrics([trial.record for trial in trials], rows)
    return Comparison(
        submission=record.id,
        study=record.study,
        question=record.question,
        metrics=metrics,
        rows=rows,
        baselines=_baselines(submission),
        best_trial=_best(trials, metrics),
        budget=budget_words(trials),
        unlike=unlike_words(trials),
    )


def label_of(record: TrialRecord) -> str:
    """The masking's name, and the axes that neither name it nor give its ratio."""
    others = {
        path: value
        for path, value in record.point.items()
        if path != "masking.name" and not is_of_ratio(path)
    }
    parts = [str(record.resolved["masking"]["name"])]
    parts += [f"{path.removeprefix('masking.')}={value}" for path, value in others.items()]
    ratio = record.resolved["masking"].get("ratio")
    return " ".join(parts if ratio is None else [*parts, ratio_text(ratio)])


def _row(label: str, members: list[TrialResult]) -> Row:
    ratio = members[0].masking.get("ratio")
    return Row(
        label=label if ratio is None else label.removesuffix(f" {ratio_text(ratio)}"),
        trial_ids=[trial.id for trial in members],
        states=[trial.status.state for trial in members],
        ratio_asked=ratio_text(ratio) if isinstance(ratio, dict) else ratio,
        ratio_realised=_mean([trial.last(REALISED) for trial in members]),
        images_per_s=_mean([median_of(trial.points, SPEED) for trial in members]),
        # An earlier epoch is no match for a later one.
        scores=_scores([t.scores for t in members if t.finished] or [t.scores for t in members]),
    )


def _scores(trials: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    keys = dict.fromkeys(key for scores in trials for key in scores)
    return {key: [scores[key] for scores in trials if key in scores] for key in keys}


def _baselines(submission: SubmissionFolder) -> list[Row]:
    names = submission.store.list(submission.file("baselines"))
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
        record = submission.store.read_record(submission.file(f"baselines/{name}"), ProbeRecord)
        assert record is not None
        scores = found.setdefault(record.encoder_hash, {})
        asked = metric_key(record.probe, f"baseline/{record.encoder_hash}")
        scores[metric_key(record.probe)] = [
            value for key, value in record.metrics.items() if key == asked
        ]
    return [
        Row(
            label=label,
            trial_ids=[],
            states=[],
            ratio_asked=None,
            ratio_realised=None,
            images_per_s=None,
            scores=scores,
        )
        for label, scores in found.items()
    ]


def _metrics(records: Sequence[TrialRecord], rows: Sequence[Row]) -> list[str]:
    """Metrics that any row has, in the order of the study's probes."""
    probes = [probe for record in records for probe in record.resolved.get("probes", ())]
    asked = [metric_key(label_of_probe(p["name"], p.get("fraction"))) for p in probes]
    found = dict.fromkeys(key for row in rows for key in row.scores)
    return [key for key in dict.fromkeys([*asked, *found]) if key in found]


def _best(trials: Sequence[TrialResult], metrics: Sequence[str]) -> str | None:
    """The trial with the highest score of the first metric; the first one where two are equal.

    Of finished trials, while there are any: an earlier epoch is no match for a later one.
    """
    if not metrics:
        return None
    finished = [trial for trial in trials if trial.finished]
    scores = {t.id: t.scores.get(metrics[0]) for t in finished or trials}
    scored = {trial_id: score for trial_id, score in scores.items() if score is not None}
    return max(scored, key=lambda trial_id: scored[trial_id], default=None)


def median_of(curve: Sequence[JournalPoint], key: str) -> float | None:
    """Median of a metric over the points that have it."""
    values = [point.metrics[key] for point in curve if key in point.metrics]
    return statistics.median(values) if values else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
