"""Training that needs labels, from shards to curves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mimlab.storage.journal import read_points
from mimlab.train.session import Session

SUPERVISED = (
    "objective={name: supervised_mim, num_classes: 10, decoder_depth: 1, decoder_width: 16, "
    "decoder_heads: 2}"
)


@pytest.mark.slow
def test_labels_reach_the_objective_and_are_learned(session_of: Callable[..., Session]) -> None:
    longer = ("train.budget={steps: 240}", "train.optimizer.base_lr=1.0e-2", "probes=[]")
    session = session_of(SUPERVISED, *longer, "train.log_every=40")
    assert session.run().state == "finished"
    points = read_points(session.trial.store, session.trial.file("journal"))
    label = [point.metrics["train/term/label"] for point in points]
    assert label[-1] < label[0]
    assert points[-1].metrics["train/diagnostic/accuracy"] > 0.25  # one in ten by chance
