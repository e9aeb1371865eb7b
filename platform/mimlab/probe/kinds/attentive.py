"""`attentive`: one cross-attention layer over frozen patch tokens."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mimlab.data.manifest import Split
from mimlab.probe.base import Baseline, Probe, Result
from mimlab.probe.given import Given
from mimlab.probe.images import chosen_rows, part_of
from mimlab.probe.tokens import encoded, planned_tokens
from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.probes import attentive


class AttentiveProbe(Probe):
    """A learned query attends to all patch tokens; rate and decay are chosen on held-out images."""

    protocol: ClassVar[str] = attentive.PROTOCOL
    baselines: ClassVar[tuple[Baseline, ...]] = ("random-init",)

    name: Literal["attentive"]
    """`attentive` trains one cross-attention layer and a linear classifier on what it sees."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the images."""

    @property
    def training_epochs(self) -> int | None:
        return self.epochs

    def evaluate(self, given: Given) -> Result:
        encoder, test = given.encoder, given.test_images()
        assert encoder is not None  # `baselines` has no raw pixels
        held_out, train = (given.images(part) for part in parts(given.source.fit, self.max_fit))
        steps = math.ceil(self.epochs * train.split.num_rows / attentive.BATCH_SIZE)
        classifiers = attentive.AttentiveClassifiers(
            encoder.embed_dim, given.source.num_classes, seed=0
        )
        scores = attentive.attentive_probe(
            classifiers.to(given.device),
            planned_tokens(encoder, train, batch_size=attentive.BATCH_SIZE, steps=steps),
            encoded(encoder, held_out.in_order()),
            encoded(encoder, test.in_order()),
            total_steps=steps,
            tell=given.tell,
        )
        return Result(scores, train.count() + held_out.count(), test.count())

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        fewer = super().bounded(max_fit=max_fit, epochs=epochs)
        return fewer.model_copy(update={"epochs": min(self.epochs, epochs)})


def parts(split: Split, max_fit: int | None) -> tuple[Split, Split]:
    """The images to choose by, a tenth of those used, and the images to train on.

    The same ones for every trial. Raises ValueError if there are fewer than two.
    """
    rows = chosen_rows(split, max_fit)
    if len(rows) < 2:
        raise ValueError("an attentive probe needs at least two images to fit")
    keys = sample_keys(key_of(attentive.PROTOCOL, "held out"), split.ids(rows), 0)
    count = max(1, round(attentive.HELD_OUT * len(rows)))
    order = np.argsort(keys, kind="stable")
    held_out, train = np.sort(rows[order[:count]]), np.sort(rows[order[count:]])
    return part_of(split, held_out), part_of(split, train)
