"""A trial with checkpoints, encoders and probe results, as a run would have left it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from written_checkpoints import manifest_of, state_of

from mimlab.probe.due import reads_of, settings_of
from mimlab.probe.task import probe_file
from mimlab.search.submission import PlannedStudy, reopen
from mimlab.spec.study import trial_spec
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import ProbeRecord, StatusRecord, TrialState
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import write_checkpoint
from mimlab.train.export import write_encoder


@dataclass(frozen=True)
class Run:
    """A submission of one trial."""

    submission: SubmissionFolder
    trial: TrialFolder

    @property
    def store(self) -> Store:
        return self.submission.store

    def planned(self) -> PlannedStudy:
        return reopen(self.submission)

    def is_in(self, state: TrialState) -> None:
        self.trial.write_status(StatusRecord(state=state, step=24, total_steps=24, epoch=1.9))

    def probed(self, *steps: int, top1: Sequence[float]) -> None:
        """Results of the study's probe, as if it had been made."""
        record = self.submission.trial_records()[0]
        spec = trial_spec(record.resolved)
        (probe,) = spec.probes
        for step, score in zip(steps, top1, strict=True):
            made = ProbeRecord(
                probe=probe.label,
                protocol=probe.protocol,
                settings=settings_of(probe, reads_of(spec)),
                step=step,
                epoch=step / 12.5,
                metrics={"probe/knn/top1": score},
                encoder_hash="",
                data_fingerprint="",
                num_fit=1,
                num_test=1,
                seconds=0.0,
                time_ms=1,
            )
            path = self.trial.file(probe_file(probe.label, step))
            self.store.write_record(path, made)

    def steps(self) -> tuple[list[int], list[int]]:
        """Of the checkpoints and of the exports that are there."""
        return self.trial.steps("checkpoints"), self.trial.steps("exports")


@pytest.fixture
def a_run(tmp_path: Path, create_tiny) -> Callable[..., Run]:
    """Writes the tiny study's submission; its trial has saved at these steps."""

    def made(*steps: int, where: Path | None = None, changes: Sequence[str] = ()) -> Run:
        folder = where or tmp_path
        created = create_tiny(folder, *changes)
        lease.claim(created.trial, created.submission)
        spec = trial_spec(created.spec)
        objective = dict(build_objective(spec).state_dict())
        for step in steps:
            manifest = manifest_of(step, step / 12.5)
            write_encoder(
                created.trial,
                objective,
                manifest,
                backbone=spec.backbone,
                image_size=spec.data.image_size,
            )
            write_checkpoint(created.trial, state_of(step, objective), manifest)
        return Run(created.submission, created.trial)

    return made
