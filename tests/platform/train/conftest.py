"""A tiny study of the built-in digits, planned and written but not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mimlab.data.segments import Place
from mimlab.search.submission import create, plan_study, storage_of
from mimlab.spec.load import load_study
from mimlab.storage import lease
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import Lease
from mimlab.train.session import Session, WorkerConfig

STUDY = """
study: tiny
data:
  images: digits
  image_size: 16
  augment: {crop_scale: [0.6, 1.0], flip: 0.0}
backbone:
  {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2, drop_path: 0.2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train:
  budget: {steps: 24}
  batch_size: 100
  optimizer: {base_lr: 3.0e-3}
  warmup_epochs: 0.3
  log_every: 5
  checkpoint: {every_epochs: 0.5, keep_last: 2}
probes:
  - {name: knn, every_epochs: 0.6}
storage: results
"""


@pytest.fixture
def session_of(tmp_path: Path, ray_local: None) -> Callable[..., Session]:
    """Builds the session of the tiny study's trial, with `--set` style changes.

    Calling it again with the same changes goes on with the same trial, as a new worker would.
    """
    held: dict[str, Lease] = {}

    def build(*changes: str) -> Session:
        file = tmp_path / "tiny.yaml"
        file.write_text(STUDY)
        loaded = load_study(file, None, list(changes))
        planned = plan_study(loaded)
        store = storage_of(planned.study)
        trial = TrialFolder(store, planned.trials[0].id)
        submission = create(store, planned, loaded)
        held[submission.id] = lease.acquire(submission)
        told = WorkerConfig(
            storage=store.root,
            submission_id=submission.id,
            trial_id=trial.id,
            data=planned.data.root,
            fence=held[submission.id].fence,
            attempt=1,
            code_fingerprint="code",
            cpus=1.0,
        )
        return Session(told, trial, Place(), torch.device("cpu"))

    return build
