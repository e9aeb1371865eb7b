"""A storage as drivers and workers leave it, written through the project's own records."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import (
    CheckpointManifest,
    LeaseRecord,
    MlflowLink,
    OwnerRecord,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
    TrialState,
)
from mimlab.storage.store import Store

KNN = "probe/knn/top1"
BATCH = 64


class Storage:
    """Writes submissions and trials one by one."""

    def __init__(self, root: Path | str) -> None:
        self.store = Store(root)

    def submission(
        self,
        submission_id: str = "ratio-20260115-101500",
        trials: Sequence[TrialRecord] = (),
        *,
        resources: dict[str, Any] | None = None,
        sweep: dict[str, Any] | None = None,
        user: str = "ada",
        created: str = "2026-01-15T10:15:00+00:00",
    ) -> SubmissionFolder:
        folder = SubmissionFolder(self.store, submission_id)
        resolved = {"resources": resources or {"workers": 2, "cpus_per_worker": 3.0}}
        resolved["sweep"] = sweep or {"search": {"name": "grid"}, "seeds": [0]}
        self.store.write(folder.file("resolved.json"), json.dumps(resolved).encode())
        self.store.write(folder.file("study.yaml"), b"study: ratio\n")
        self.store.write_record(folder.file("trials.json"), TrialsRecord(trials=list(trials)))
        record = SubmissionRecord(
            id=submission_id,
            study="ratio",
            question="Which ratio?",
            study_hash="",
            study_file="study.yaml",
            trial_ids=[trial.id for trial in trials],
            created=created,
            user=user,
            host="",
            code_fingerprint="",
            tracking_uri="",
            environment={},
        )
        self.store.write_record(folder.file("submission.json"), record)
        return folder

    def trial(
        self, name: str = "random", ratio: float = 0.5, seed: int = 0, *, parent: str | None = None
    ) -> TrialRecord:
        """A record, to be listed by a submission."""
        record = TrialRecord(
            id=f"{name}-{ratio:g}-{seed}{'-fork' if parent else ''}",
            study="ratio",
            seed=seed,
            point={"masking.name": name, "masking.ratio": ratio},
            resolved={
                "masking": {"name": name, "ratio": ratio},
                "train": {"batch_size": BATCH, "betas": [0.9, 0.95]},
                "probes": [{"name": "knn", "k": 20}],
                "seed": seed,
            },
            identity={},
            parent=parent,
        )
        trial = TrialFolder(self.store, record.id)
        self.store.write_record(trial.file("trial.json"), record)
        return record

    def status(
        self,
        trial: TrialRecord,
        state: TrialState,
        step: int = 0,
        total_steps: int = 100,
        *,
        heartbeat: int = 1,
        images_per_s: float = 0.0,
        reason: str = "",
    ) -> None:
        TrialFolder(self.store, trial.id).write_status(
            StatusRecord(
                state=state,
                step=step,
                total_steps=total_steps,
                heartbeat=heartbeat,
                images_per_s=images_per_s,
                reason=reason,
            )
        )

    def owner(self, trial: TrialRecord, submission: SubmissionFolder) -> None:
        path = TrialFolder(self.store, trial.id).file("owner.json")
        self.store.write_record(path, OwnerRecord(submission=submission.id))

    def points(self, trial: TrialRecord, losses: Sequence[float], *, first_step: int = 10) -> None:
        """Points every 10 steps, a segment, through the project's own journal."""
        journal = Journal(TrialFolder(self.store, trial.id))
        for i, loss in enumerate(losses):
            step = first_step + 10 * i
            metrics = {
                "train/loss": loss,
                "train/images": float(step * BATCH),
                "train/images_per_s": 640.0,
            }
            journal.append(step, metrics)
        journal.flush()

    def probe(self, trial: TrialRecord, step: int, score: float | None, probe: str = "knn") -> None:
        """A score; None for a probe that failed."""
        record = ProbeRecord(
            probe=probe,
            protocol=f"{probe}/1",
            settings={},
            step=step,
            epoch=step / 10,
            metrics={} if score is None else {f"probe/{probe}/top1": score},
            encoder_hash="",
            data_fingerprint="",
            num_fit=10,
            num_test=10,
            seconds=1.5,
            time_ms=0,
            error="" if score is not None else "the export is corrupt",
        )
        path = TrialFolder(self.store, trial.id).file(f"probes/{probe}-{step:09d}.json")
        self.store.write_record(path, record)

    def lease(
        self, submission: SubmissionFolder, *, released: bool = False, counter: int = 0
    ) -> None:
        """Of a driver on another machine."""
        record = LeaseRecord(
            fence=1,
            host="node-7",
            machine="another machine",
            pid=1,
            process_born=1,
            counter=counter,
            released=released,
        )
        self.store.write_record(submission.file("lease/000001.json"), record)

    def board(self, trial: TrialRecord, step: int, colour: tuple[int, int, int]) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (96, 96), colour).save(out, "PNG")
        path = TrialFolder(self.store, trial.id).file(f"boards/{step:09d}.png")
        self.store.write(path, out.getvalue())
        return out.getvalue()

    def checkpoint(self, trial: TrialRecord, step: int, num_bytes: int = 1000) -> None:
        manifest = CheckpointManifest(
            step=step,
            epoch=step / 10,
            files={"state.pt": "0" * 64},
            sizes={"state.pt": num_bytes},
            fence=1,
            code_fingerprint="",
            journal_seq=0,
            next_batch_hash="",
        )
        path = TrialFolder(self.store, trial.id).file(f"checkpoints/step_{step:09d}/manifest.json")
        self.store.write_sealed(path, manifest)

    def mlflow(self, shown: TrialRecord | SubmissionFolder, uri: str) -> None:
        link = MlflowLink(tracking_uri=uri, experiment_id="3", run_id="abc")
        kind = TrialFolder if isinstance(shown, TrialRecord) else SubmissionFolder
        self.store.write_record(kind(self.store, shown.id).file("mlflow.json"), link)


@pytest.fixture(scope="session")
def storage_at() -> type[Storage]:
    """Writes a storage at a place of one's own."""
    return Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "runs")
