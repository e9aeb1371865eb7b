"""The committed checkpoints of a trial."""

from __future__ import annotations

import re

from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.models import CheckpointSummary
from mimlab.storage.records import CheckpointManifest

_STEP = re.compile(r"step_(\d{9})$")


def checkpoints_of(files: CachedFiles, trial_id: str) -> list[CheckpointSummary]:
    """Those that are committed, ascending."""
    manifests = files.sealed(_manifests(files, trial_id), CheckpointManifest)
    return [
        CheckpointSummary(
            step=manifest.step,
            epoch=manifest.epoch,
            num_bytes=sum(manifest.sizes.values()),
            differs=manifest.differs,
        )
        for manifest in sorted(filter(None, manifests), key=lambda m: m.step)
    ]


def has_checkpoint(files: CachedFiles, trial_id: str) -> bool:
    """Whether there is any; of many, the newest alone is read."""
    newest_first = reversed(_manifests(files, trial_id))
    return any(files.sealed([path], CheckpointManifest)[0] for path in newest_first)


def _manifests(files: CachedFiles, trial_id: str) -> list[str]:
    folder = f"trials/{trial_id}/checkpoints"
    return [f"{folder}/{name}/manifest.json" for name in files.list(folder) if _STEP.match(name)]
