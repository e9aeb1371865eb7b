"""What the dashboard waits for: the list of 200 submissions, the curves of 50 trials, and one
submission of 2,000 trials.

The storage holds 200 submissions of 10 trials with 1,000 points each, written by the project's own
records; every journal is in 10 segments of the same content. The large submission shares them all.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from benchmarks.measuring import Row, seconds_of
from mimlab.serve.reading import Reading
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import (
    JournalPoint,
    OwnerRecord,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
)
from mimlab.storage.store import Store
from one_machine.ports import free_port

SUBMISSIONS, TRIALS, POINTS, SEGMENTS = 200, 10, 1_000, 10
CURVES, SHOWN_POINTS = 50, 600
"""Trials whose curves are asked for at once; points of a curve that a page draws."""
ROUNDS = 5
SHARDS = "s3://team/imagenet-1k"
LARGE = "all-of-them"


def run(folder: Path) -> list[Row]:
    store = Store(folder)
    segments = _segments()
    for number in range(SUBMISSIONS):
        _write_submission(store, number, segments)
    cold, warm, curves, again = [], [], [], []
    for _ in range(ROUNDS):
        reading = Reading(store)
        cold.append(seconds_of(reading.submissions))
        warm.append(seconds_of(reading.submissions))
        ids = [f"{number:04d}-{i}" for number in range(5) for i in range(TRIALS)][:CURVES]
        curves.append(seconds_of(lambda: reading.curves(ids, ["train/loss"], SHOWN_POINTS)))  # noqa: B023
        again.append(seconds_of(lambda: reading.curves(ids, ["train/loss"], SHOWN_POINTS)))  # noqa: B023
    page = _page_seconds(folder, "/")
    _write_large(store)
    table, table_again = [], []
    for _ in range(ROUNDS):
        reading = Reading(store)
        table.append(seconds_of(lambda: reading.submission(LARGE)))  # noqa: B023
        table_again.append(seconds_of(lambda: reading.submission(LARGE)))  # noqa: B023
    table_page = _page_seconds(folder, f"/submissions/{LARGE}")
    listed = f"the list of {SUBMISSIONS} submissions, {SUBMISSIONS * TRIALS:,} trials"
    large = f"a submission of {SUBMISSIONS * TRIALS:,} trials"
    drawn = f"a curve of {CURVES} trials of {POINTS:,} points"
    return [
        _row(listed, {"first s": cold, "again s": warm}),
        _row(drawn, {"first s": curves, "again s": again}),
        _row(f"the page of {listed}", {"first s": page[:1], "again s": page[1:]}),
        _row(large, {"first s": table, "again s": table_again}),
        _row(f"the page of {large}", {"first s": table_page[:1], "again s": table_page[1:]}),
    ]


def _page_seconds(folder: Path, page: str) -> list[float]:
    """Of a dashboard's own process, from the request to the whole page; the first one is cold."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "mimlab.cli.main", "dashboard"]
    words = ["--storage", str(folder), "--port", str(port)]
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            while not _serves(f"{address}/login"):
                time.sleep(0.2)
            return [seconds_of(lambda: _get(address + page)) for _ in range(1 + ROUNDS)]
        finally:
            process.terminate()


def _serves(address: str) -> bool:
    try:
        _get(address)
    except OSError:
        return False
    return True


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read()


def _row(what: str, figures: dict[str, list[float]]) -> Row:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    return Row(what, "", None, "first ≤ 1 s", medians)


def _segments() -> dict[str, bytes]:
    """A journal's files by name."""
    each = POINTS // SEGMENTS
    found: dict[str, bytes] = {}
    for first in range(1, POINTS + 1, each):
        points = [_point(seq) for seq in range(first, first + each)]
        lines = [point.model_dump_json().encode() + b"\n" for point in points]
        found[f"{first:09d}.jsonl"] = b"".join(lines)
    return found


def _point(seq: int) -> JournalPoint:
    metrics = {
        "train/loss": 0.4 + math.exp(-seq / 200) + 0.01 * math.sin(seq),
        "train/grad_norm": 1.0 / seq,
        "train/visible_tokens": 98_304.0 * seq,
        "train/images_per_s": 2_000.0 + seq % 7,
        "train/wait_share": 0.01,
        "train/forward_share": 0.3,
        "train/backward_share": 0.6,
        "mask/ratio_realised": 0.75,
        "train/lr": 1.5e-3 * math.cos(seq / POINTS),
        "train/images": 20_480.0 * seq,
        "train/epoch": 0.016 * seq,
    }
    return JournalPoint(seq=seq, time_ms=1_000 * seq, step=20 * seq, metrics=metrics)


def _write_submission(store: Store, number: int, segments: dict[str, bytes]) -> None:
    folder = SubmissionFolder(store, f"study-{number:04d}")
    trials = [_trial(number, i) for i in range(TRIALS)]
    for i, record in enumerate(trials):
        trial = TrialFolder(store, record.id)
        done = number + i > 20
        status = StatusRecord(
            state="finished" if done else "stopped",
            step=20 * POINTS,
            total_steps=20 * POINTS * (1 if done else 2),
            images_per_s=2_000.0,
        )
        trial.write_status(status)
        store.write_record(trial.file("owner.json"), OwnerRecord(submission=folder.id))
        store.write_record(trial.file("probes/knn-000020000.json"), _probe(i))
        for name, data in segments.items():
            store.write(trial.file(f"journal/{name}"), data)
    _write_records(folder, trials)


def _write_large(store: Store) -> None:
    trials = [_trial(number, i) for number in range(SUBMISSIONS) for i in range(TRIALS)]
    _write_records(SubmissionFolder(store, LARGE), trials)


def _write_records(folder: SubmissionFolder, trials: list[TrialRecord]) -> None:
    resources = {"workers": 1, "gpus_per_worker": 1.0, "cpus_per_worker": 8.0}
    store = folder.store
    store.write(folder.file("resolved.json"), json.dumps({"resources": resources}).encode())
    store.write_record(folder.file("trials.json"), TrialsRecord(trials=trials))
    store.write_record(folder.file("submission.json"), _record(folder.id, trials))


def _trial(number: int, i: int) -> TrialRecord:
    masking = {"name": "random" if i % 2 else "block", "ratio": 0.5 + 0.05 * i}
    return TrialRecord(
        id=f"{number:04d}-{i}",
        study="study",
        seed=0,
        point={f"masking.{key}": value for key, value in masking.items()},
        resolved={
            "data": {"images": SHARDS, "image_size": 224, "augment": {"crop_scale": [0.2, 1.0]}},
            "backbone": {"name": "vit_small_patch16_224", "drop_path": 0.1},
            "objective": {"name": "mae", "decoder_depth": 4, "decoder_width": 256},
            "target": {"name": "pixels", "norm": "patch"},
            "masking": masking,
            "train": {"batch_size": 1024, "budget": {"epochs": 100.0}},
            "probes": [{"name": "knn", "k": 20}, {"name": "linear", "epochs": 100}],
        },
        identity={f"key.{key}": "value" for key in range(30)},
    )


def _probe(i: int) -> ProbeRecord:
    return ProbeRecord(
        probe="knn",
        protocol="knn/1",
        settings={},
        step=20 * POINTS,
        epoch=16.0,
        metrics={"probe/knn/top1": 0.5 + 0.01 * i},
        encoder_hash="",
        data_fingerprint="",
        num_fit=10_000,
        num_test=10_000,
        seconds=3.0,
        time_ms=0,
    )


def _record(submission_id: str, trials: list[TrialRecord]) -> SubmissionRecord:
    return SubmissionRecord(
        id=submission_id,
        study="study",
        question="Which masking?",
        study_hash="",
        study_file="study.yaml",
        trial_ids=[trial.id for trial in trials],
        created="2026-01-15T10:15:00+00:00",
        user="somebody",
        host="",
        code_fingerprint="",
        tracking_uri="",
        environment={},
    )
