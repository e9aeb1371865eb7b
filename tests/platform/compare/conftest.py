"""Folders of a study, written through the project's own records."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import (
    JournalPoint,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
    TrialState,
)
from mimlab.storage.store import Store

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"
BATCH, TOKENS = 64, 16
"""Images of a step; patches of an image."""


class StudyFolders:
    """A submission whose trials are written one by one; `submission` commits what there is."""

    def __init__(self, root: Path, *, gpus: float = 0.0) -> None:
        self.store = Store(root)
        self._folder = SubmissionFolder(self.store, "study-1")
        self._records: list[TrialRecord] = []
        resources = {"workers": 2, "gpus_per_worker": gpus, "cpus_per_worker": 3.0}
        self.store.write(
            self._folder.file("resolved.json"), json.dumps({"resources": resources}).encode()
        )

    def trial(
        self,
        name: str = "random",
        ratio: float = 0.5,
        seed: int = 0,
        *,
        state: TrialState = "finished",
        axes: dict[str, Any] | None = None,
        resolved: dict[str, Any] | None = None,
        budget_asked: dict[str, float] | None = None,
    ) -> TrialFolder:
        """A trial without curves and scores. `axes` are its further values by dotted path."""
        axes = axes or {}
        masking = {"name": name, "ratio": ratio}
        masking |= {k.split(".")[1]: v for k, v in axes.items() if k.startswith("masking.")}
        point = {"masking.name": name, "masking.ratio": ratio} | axes
        trial_id = "-".join([*(str(value) for value in point.values()), str(seed)])
        record = TrialRecord(
            id=trial_id.replace("/", "_"),
            study="study",
            seed=seed,
            point=point,
            resolved={"masking": masking, "probes": [{"name": "knn"}, {"name": "linear"}]}
            | (resolved or {}),
            budget_asked=budget_asked,
            identity={},
        )
        self._records.append(record)
        trial = TrialFolder(self.store, record.id)
        trial.write_status(StatusRecord(state=state))
        return trial

    def journal(
        self,
        trial: TrialFolder,
        losses: Sequence[float],
        *,
        every: int = 10,
        images_per_s: float = 640.0,
        wait_share: float = 0.1,
        pause_ms: int = 0,
    ) -> None:
        """A point every few steps; `pause_ms` lies between the first two of them."""
        ratio = float(trial.id.split("-")[1])
        lines = []
        for i, loss in enumerate(losses, start=1):
            step = i * every
            images = float(step * BATCH)
            metrics = {
                "train/loss": loss,
                "train/images": images,
                "train/visible_tokens": images * TOKENS * (1 - ratio),
                "train/images_per_s": images_per_s,
                "train/wait_share": wait_share,
                "mask/ratio_realised": ratio + 0.0625,
            }
            clock = i * 1000 + (pause_ms if i > 1 else 0)
            lines.append(JournalPoint(seq=i, time_ms=clock, step=step, metrics=metrics))
        text = b"".join(point.model_dump_json().encode() + b"\n" for point in lines)
        self.store.write(trial.file("journal/000000001.jsonl"), text)

    def probe(self, trial: TrialFolder, step: int, key: str, score: float | None) -> None:
        """A score of a probe at a step; None for one that failed."""
        probe = key.split("/")[1]
        record = _probe_record(probe, step, {} if score is None else {key: score})
        self.store.write_record(trial.file(f"probes/{probe}-{step:09d}.json"), record)

    def baseline(self, label: str, key: str, score: float) -> None:
        probe = key.split("/")[1]
        record = _probe_record(probe, 0, {f"baseline/{label}/{probe}/top1": score}, label)
        self.store.write_record(self._folder.file(f"baselines/{label}-{probe}.json"), record)

    def board(self, trial: TrialFolder, predicted: tuple[int, int, int]) -> None:
        """Two images side by side: input, masked, predicted."""
        board = Image.new("RGB", (200, 300), (230, 230, 230))
        board.paste((128, 128, 128), (0, 100, 200, 200))
        board.paste(predicted, (0, 200, 200, 300))
        out = io.BytesIO()
        board.save(out, "PNG")
        self.store.write(trial.file("boards/000000010.png"), out.getvalue())

    def submission(self, question: str = "Which ratio?") -> SubmissionFolder:
        record = SubmissionRecord(
            id=self._folder.id,
            study="ratios",
            question=question,
            study_hash="",
            study_file="study.yaml",
            trial_ids=[record.id for record in self._records],
            created="2026-01-15T10:15:00+00:00",
            user="",
            host="",
            code_fingerprint="",
            tracking_uri="",
            environment={"git.commit": "0123456789abcdef"},
        )
        self.store.write_record(self._folder.file("submission.json"), record)
        trials = TrialsRecord(trials=self._records)
        self.store.write_record(self._folder.file("trials.json"), trials)
        return self._folder


def _probe_record(
    probe: str, step: int, metrics: dict[str, float], encoder: str = ""
) -> ProbeRecord:
    return ProbeRecord(
        probe=probe,
        protocol=f"{probe}/1",
        settings={},
        step=step,
        epoch=step / 10,
        metrics=metrics,
        encoder_hash=encoder,
        data_fingerprint="",
        num_fit=10,
        num_test=10,
        seconds=0.1,
        time_ms=0,
        error="" if metrics else "the export is corrupt",
    )


@pytest.fixture
def study(tmp_path: Path) -> StudyFolders:
    return StudyFolders(tmp_path / "runs")
