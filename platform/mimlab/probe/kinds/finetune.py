"""`finetune`: the whole encoder, trained end to end on labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from mimlab.data.augment import AugmentConfig
from mimlab.probe.base import Baseline, Probe, Result
from mimlab.probe.given import Given
from mimlab.probe.images import ChangesOf
from mimlab_objectives.probes import finetune
from mimlab_objectives.probes.features import Pooling
from mimlab_objectives.probes.rand_augment import RandAugment


class FinetuneProbe(finetune.Recipe, Probe):
    """End-to-end fine-tuning by MAE's recipe; the export itself stays as it is."""

    protocol: ClassVar[str] = finetune.PROTOCOL
    baselines: ClassVar[tuple[Baseline, ...]] = ("random-init",)

    name: Literal["finetune"]
    """`finetune` trains the whole encoder with a classifier."""
    pool: Pooling = "mean"
    """What the classifier sees: the mean of the patch tokens, or the class token."""
    augment: AugmentConfig | None = None
    """Crop and flip of the images to fit on; null: as in the trial's training."""

    @property
    def pooling(self) -> Pooling | None:
        return self.pool

    @property
    def training_epochs(self) -> int | None:
        return self.epochs

    def evaluate(self, given: Given) -> Result:
        assert given.encoder is not None  # `baselines` has no raw pixels
        train, test = given.fit_images(self.max_fit), given.test_images()
        steps = self.steps(train.split.num_rows)
        batches = train.planned(
            seed=0,
            batch_size=self.batch_size,
            steps=steps,
            augment=self.augment or given.source.augment,
            changes=self.changes(given.source.image_size),
        )
        task = finetune.Task(given.source.num_classes, self.pool, total_steps=steps, seed=0)
        scores = finetune.finetune(
            given.encoder, batches, test.in_order(), self, task, tell=given.tell
        )
        return Result(scores, train.count(), test.count())

    def changes(self, image_size: int) -> ChangesOf | None:
        """What is done to the views of the images to fit on, by their keys."""
        if not self.rand_augment:
            return None
        return RandAugment(self.rand_augment, image_size).changes

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        """The warm-up keeps its share of the epochs."""
        fewer = super().bounded(max_fit=max_fit, epochs=epochs)
        epochs = min(self.epochs, epochs)
        warmup_epochs = self.warmup_epochs * epochs / self.epochs
        return fewer.model_copy(update={"epochs": epochs, "warmup_epochs": warmup_epochs})
