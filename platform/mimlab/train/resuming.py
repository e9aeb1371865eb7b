"""What a resume proves: that the step after its checkpoint is the one that would have come."""

from __future__ import annotations

from dataclasses import dataclass

from mimlab.errors import TrialError
from mimlab.spec.study import TrialSpec
from mimlab.storage.records import CheckpointManifest, Conditions
from mimlab.train.conditions import differences, drops_at_random
from mimlab.train.log import LogValue
from mimlab.train.step_hashes import StepHashes


@dataclass(frozen=True)
class Resumed:
    """A checkpoint, compared with what goes on from it."""

    step: int
    same_next_batch: bool
    masks_compared: bool
    same_code: bool
    differs: list[str]
    """In the conditions, since the checkpoint."""
    ever_differed: list[str]
    """At any resume up to here, see `CheckpointManifest`."""

    def details(self) -> dict[str, LogValue]:
        """What the trial's log says."""
        told: dict[str, LogValue] = {
            "step": self.step,
            "same_next_batch": self.same_next_batch,
            "masks_compared": self.masks_compared,
            "same_code": self.same_code,
            "exact": self.same_next_batch and not self.differs,
        }
        return told | {"differs": self.differs} if self.differs else told

    def check(self) -> None:
        """Raises TrialError where another trial would go on."""
        if not self.same_next_batch:
            raise TrialError(
                "failed",
                f"step {self.step} would read other samples or masks than its checkpoint was made "
                "for, so going on would be another trial; the code has changed: go back to it, or "
                "raise the revision of the part that changed",
            )


def compared(
    manifest: CheckpointManifest,
    hashes: StepHashes,
    conditions: Conditions,
    spec: TrialSpec,
    *,
    code_fingerprint: str,
) -> Resumed:
    """How a trial that goes on now relates to the one that its checkpoint was made by."""
    differs = differences(manifest.conditions, conditions, drops=drops_at_random(spec))
    return Resumed(
        step=manifest.step,
        same_next_batch=manifest.next_batch_hash == hashes.of(manifest.step),
        masks_compared=hashes.with_masks,
        same_code=manifest.code_fingerprint == code_fingerprint,
        differs=differs,
        ever_differed=list(dict.fromkeys([*manifest.differs, *differs])),
    )
