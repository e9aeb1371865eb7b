"""A comparison says what the folders of a submission hold, however far its trials have come."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

import pytest
from rich.console import Console

from mimlab.compare.render import table_of
from mimlab.compare.rows import Comparison, compare, label_of
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import (
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
    TrialState,
)
from mimlab.storage.store import Store

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"
Value = str | int | float | bool | None


def trial_record(
    trial_id: str, masking: dict[str, Value], seed: int, **point: Value
) -> TrialRecord:
    axes = {f"masking.{key}": value for key, value in masking.items()}
    return TrialRecord(
        id=trial_id,
        study="study",
        seed=seed,
        point=axes | {path.replace("__", "."): value for path, value in point.items()},
        resolved={"masking": masking, "probes": [{"name": "linear"}, {"name": "knn"}]},
        identity={},
    )


def probe_record(step: int, metrics: dict[str, float], **changes) -> ProbeRecord:
    return ProbeRecord(
        probe=next(iter(metrics)).split("/")[-2],
        protocol="1",
        settings={},
        step=step,
        epoch=step / 10,
        metrics=metrics,
        encoder_hash="",
        data_fingerprint="",
        num_fit=10,
        num_test=10,
        seconds=0.1,
        time_ms=0,
    ).model_copy(update=changes)


class Folders:
    """Writes the folders of one submission by hand."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.submission = SubmissionFolder(self.store, "study-1")
        self._records: list[TrialRecord] = []

    def trial(
        self,
        name: str,
        ratio: float,
        seed: int = 0,
        *,
        state: TrialState = "finished",
        scores: dict[int, dict[str, float]] | None = None,
        speeds: tuple[float, ...] = (),
        realised: float | None = None,
        probes: list[dict[str, Value]] | None = None,
    ) -> str:
        record = trial_record(f"{name}-{ratio}-{seed}", {"name": name, "ratio": ratio}, seed)
        if probes is not None:
            resolved = record.resolved | {"probes": probes}
            record = record.model_copy(update={"resolved": resolved})
        trial = self.write(record, state)
        for step, metrics in (scores or {}).items():
            for key, value in metrics.items():
                found = probe_record(step, {key: value})
                path = trial.file(f"probes/{found.probe}-{step:09d}.json")
                self.store.write_record(path, found)
        journal = Journal(trial)
        for i, speed in enumerate(speeds):
            journal.append(i, {"train/images_per_s": speed, "mask/ratio_realised": realised or 0.0})
        journal.flush()
        return record.id

    def write(self, record: TrialRecord, state: TrialState = "finished") -> TrialFolder:
        """A trial without curves and scores."""
        trial = TrialFolder(self.store, record.id)
        trial.write_status(StatusRecord(state=state))
        self._records.append(record)
        return trial

    def baseline(self, label: str, key: str, value: float) -> None:
        probe = key.split("/")[1]
        metrics = {f"baseline/{label}/{probe}/top1": value, f"baseline/{label}/{probe}/top5": 1.0}
        record = probe_record(0, metrics, encoder_hash=label)
        path = self.submission.file(f"baselines/{label}-{probe}.json")
        self.store.write_record(path, record)

    def compare(self) -> Comparison:
        record = SubmissionRecord(
            id=self.submission.id,
            study="ratios",
            question="Which ratio?",
            study_hash="",
            study_file="study.yaml",
            trial_ids=[record.id for record in self._records],
            created="",
            user="",
            host="",
            code_fingerprint="",
            tracking_uri="",
            environment={},
        )
        self.store.write_record(self.submission.file("submission.json"), record)
        trials = TrialsRecord(trials=self._records)
        self.store.write_record(self.submission.file("trials.json"), trials)
        return compare(self.submission)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def printed(comparison: Comparison) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(table_of(comparison))
    return out.getvalue().splitlines()


def line_with(comparison: Comparison, text: str) -> str:
    """The only row of the table that holds `text`."""
    (line,) = (line for line in printed(comparison) if text in line and "│" in line)
    return line


def test_seeds_of_one_point_are_one_row_with_mean_and_deviation(folders: Folders) -> None:
    scores = (0.5, 0.6, 0.8)
    for seed, score in enumerate(scores):
        folders.trial("random", 0.5, seed, scores={10: {KNN: score}})
    folders.trial("block", 0.5, 0, scores={10: {KNN: 0.25}})
    comparison = folders.compare()
    assert [row.label for row in comparison.rows] == ["random", "block"]
    random, block = comparison.rows
    assert random.trial_ids == ["random-0.5-0", "random-0.5-1", "random-0.5-2"]
    assert random.scores == {KNN: [0.5, 0.6, 0.8]}
    assert random.mean(KNN) == statistics.fmean(scores)
    assert random.mean(LINEAR) is None
    assert f"{0.6333:.4f} ± {statistics.stdev(scores):.4f}" in line_with(comparison, "random")
    assert "±" not in line_with(comparison, "block")
    assert block.scores == {KNN: [0.25]}


def test_what_was_hidden_stands_beside_what_was_asked(folders: Folders) -> None:
    folders.trial("block", 0.75, 0, speeds=(100.0, 300.0, 200.0), realised=0.6875)
    folders.trial("block", 0.75, 1, speeds=(400.0,), realised=0.8125)
    (row,) = folders.compare().rows
    assert row.ratio_asked == 0.75
    assert row.ratio_realised == 0.75
    assert row.images_per_s == (200.0 + 400.0) / 2
    folders.trial("block", 0.5, 0, speeds=(1234.5,), realised=0.5625)
    line = line_with(folders.compare(), "0.5625")
    assert " 0.5 " in line
    assert "1,234" in line


def test_a_row_has_the_scores_of_the_last_step(folders: Folders) -> None:
    folders.trial("random", 0.5, scores={10: {KNN: 0.9}, 20: {KNN: 0.4, LINEAR: 0.7}})
    (row,) = folders.compare().rows
    assert row.scores == {KNN: [0.4], LINEAR: [0.7]}


def test_columns_follow_the_study_s_probes(folders: Folders) -> None:
    folders.trial("random", 0.5, scores={10: {KNN: 0.9}, 20: {KNN: 0.4, LINEAR: 0.7}})
    folders.trial("block", 0.5, scores={20: {KNN: 0.8, LINEAR: 0.6}})
    comparison = folders.compare()
    assert comparison.metrics == [LINEAR, KNN]
    assert comparison.best_trial == "random-0.5-0"


def test_fractions_of_the_labels_are_columns_in_the_order_of_the_study(folders: Folders) -> None:
    ten, one = (f"probe/low_shot_{share}pct/top1" for share in (10, 1))
    probes = [{"name": "low_shot", "fraction": 0.1}, {"name": "low_shot", "fraction": 0.01}]
    folders.trial("random", 0.5, scores={20: {one: 0.3, ten: 0.6}}, probes=probes)
    assert folders.compare().metrics == [ten, one]


def test_the_best_row_stands_first(folders: Folders) -> None:
    for name, score in (("random", 0.3), ("block", 0.7), ("coarse", 0.5)):
        folders.trial(name, 0.5, scores={10: {KNN: score}})
    lines = "\n".join(printed(folders.compare()))
    assert lines.index("block") < lines.index("coarse") < lines.index("random")


def test_unfinished_trials_say_so(folders: Folders) -> None:
    folders.trial("random", 0.5, 0, scores={10: {KNN: 0.5}})
    folders.trial("random", 0.5, 1, state="running")
    folders.trial("random", 0.5, 2, state="failed")
    folders.trial("block", 0.5, 0, state="pending")
    comparison = folders.compare()
    assert comparison.rows[0].states == ["finished", "running", "failed"]
    assert "random (failed, running)" in line_with(comparison, "random")
    assert "block (pending)" in line_with(comparison, "block")
    assert comparison.rows[0].scores == {KNN: [0.5]}


def test_seeds_that_ended_early_count_only_while_none_has_finished(folders: Folders) -> None:
    folders.trial("random", 0.5, 0, scores={10: {KNN: 0.8}})
    folders.trial("random", 0.5, 1, state="pruned", scores={4: {KNN: 0.3}})
    folders.trial("block", 0.5, 0, state="pruned", scores={4: {KNN: 0.2}})
    random, block = folders.compare().rows
    assert random.scores == {KNN: [0.8]}
    assert block.scores == {KNN: [0.2]}


def test_scores_that_were_measured_otherwise_are_not_compared_in_silence(folders: Folders) -> None:
    for seed, k in enumerate((5, 20)):
        trial_id = folders.trial("random", 0.5, seed, scores={20: {LINEAR: 0.5}})
        own = probe_record(20, {KNN: 0.5}).model_copy(update={"settings": {"k": k, "metric": "l2"}})
        path = TrialFolder(folders.store, trial_id).file("probes/knn-000000020.json")
        folders.store.write_record(path, own)
    comparison = folders.compare()
    (words,) = comparison.unlike
    assert "Scores of knn do not compare" in words and "(k: 20, 5)" in words
    assert words in " ".join(line.strip() for line in printed(comparison))


def test_the_best_trial_is_the_one_that_has_the_best_score(folders: Folders) -> None:
    # The first seed has no score yet: the second one's must not be taken for its own.
    folders.trial("random", 0.5, 0, state="running")
    best = folders.trial("random", 0.5, 1, scores={10: {KNN: 0.9}})
    folders.trial("random", 0.5, 2, scores={10: {KNN: 0.7}})
    folders.trial("block", 0.5, 0, scores={10: {KNN: 0.8}})
    comparison = folders.compare()
    assert comparison.best_trial == best
    assert f"Best trial by knn: {best}" in printed(comparison)[-1]


def test_a_finished_trial_is_best_before_any_that_still_trains(folders: Folders) -> None:
    early = folders.trial("random", 0.5, 0, state="running", scores={10: {KNN: 0.9}})
    assert folders.compare().best_trial == early
    done = folders.trial("block", 0.5, 0, scores={20: {KNN: 0.6}})
    assert folders.compare().best_trial == done


def test_a_probe_that_failed_at_the_end_gives_no_older_score(folders: Folders) -> None:
    trial_id = folders.trial("random", 0.5, scores={10: {KNN: 0.9, LINEAR: 0.8}})
    failed = probe_record(20, {KNN: 0.0}).model_copy(update={"metrics": {}, "error": "corrupt"})
    path = TrialFolder(folders.store, trial_id).file("probes/knn-000000020.json")
    folders.store.write_record(path, failed)
    (row,) = folders.compare().rows
    assert row.scores == {LINEAR: [0.8]}


def test_before_any_probe_there_is_no_best_trial(folders: Folders) -> None:
    folders.trial("random", 0.5, state="pending")
    comparison = folders.compare()
    assert comparison.best_trial is None
    assert comparison.metrics == []
    assert "random (pending)" in line_with(comparison, "random")


def test_it_is_said_plainly_when_raw_pixels_win(folders: Folders) -> None:
    folders.trial("random", 0.5, scores={10: {KNN: 0.9, LINEAR: 0.6}})
    folders.trial("block", 0.5, scores={10: {KNN: 0.8, LINEAR: 0.7}})
    folders.baseline("raw-pixels", KNN, 0.85)
    folders.baseline("raw-pixels", LINEAR, 0.75)
    comparison = folders.compare()
    assert comparison.pixels_win == [LINEAR]
    assert "Raw pixels beat every encoder by linear." in printed(comparison)


def test_nothing_is_said_of_pixels_that_lose_or_were_not_probed(folders: Folders) -> None:
    folders.trial("random", 0.5, scores={10: {KNN: 0.9}})
    folders.baseline("random-init", KNN, 0.95)
    assert folders.compare().pixels_win == []
    folders.baseline("raw-pixels", KNN, 0.9)
    assert folders.compare().pixels_win == []
    assert not any("beat" in line for line in printed(folders.compare()))


def test_baselines_stand_below_under_the_probes_own_columns(folders: Folders) -> None:
    folders.trial("random", 0.5, scores={10: {KNN: 0.9}})
    folders.baseline("random-init", KNN, 0.4321)
    folders.baseline("raw-pixels", KNN, 0.8765)
    comparison = folders.compare()
    assert {b.label: b.scores for b in comparison.baselines} == {
        "random-init": {KNN: [0.4321]},
        "raw-pixels": {KNN: [0.8765]},
    }
    assert "0.4321" in line_with(comparison, "random-initialised encoder")
    assert "0.8765" in line_with(comparison, "raw pixels")
    assert comparison.best_trial == "random-0.5-0"


def test_json_gives_the_same_comparison_back(folders: Folders) -> None:
    folders.trial("random", 0.5, 0, scores={10: {KNN: 0.5}}, speeds=(10.0,), realised=0.5)
    folders.trial("block", 0.75, 0, state="running")
    folders.baseline("raw-pixels", KNN, 0.9)
    comparison = folders.compare()
    again = Comparison.model_validate_json(comparison.model_dump_json())
    assert again == comparison
    assert again.pixels_win == [KNN]


def test_a_label_names_the_masking_and_what_else_varies() -> None:
    masking: dict[str, Value] = {"name": "block", "ratio": 0.5}
    assert label_of(trial_record("t", masking, 0)) == "block 0.5"
    aspect = masking | {"min_aspect": 0.3}
    assert label_of(trial_record("t", aspect, 0)) == "block min_aspect=0.3 0.5"
    record = trial_record("t", masking, 0, train__batch_size=64)
    assert label_of(record) == "block train.batch_size=64 0.5"
    assert label_of(trial_record("t", {"name": "none"}, 0)) == "none"


def test_points_that_differ_elsewhere_are_rows_of_their_own(folders: Folders) -> None:
    folders.trial("random", 0.5)
    folders.trial("random", 0.75)
    rows = folders.compare().rows
    assert [(row.label, row.ratio_asked) for row in rows] == [("random", 0.5), ("random", 0.75)]


def test_a_schedule_is_shown_shortly(folders: Folders) -> None:
    ratio = {"quantum": 4, "start": 0.9, "end": 0.5, "name": "linear"}
    record = trial_record("t", {"name": "block"}, 0, masking__ratio__start=0.9, train__epochs=3)
    record.resolved["masking"]["ratio"] = ratio
    assert label_of(record) == "block train.epochs=3 linear(start=0.9, end=0.5)"
    folders.write(record)
    comparison = folders.compare()
    (row,) = comparison.rows
    assert (row.label, row.ratio_asked) == ("block train.epochs=3", "linear(start=0.9, end=0.5)")
    assert " linear(start=0.9, end=0.5) " in line_with(comparison, "block")
