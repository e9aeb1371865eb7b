"""Which probes are due when."""

from __future__ import annotations

from mimlab.probe.config import KnnProbe, LinearProbe
from mimlab.probe.due import due_steps

KNN = KnnProbe(name="knn", every_epochs=10)
LINEAR = LinearProbe(name="linear", at="end")


def names(due) -> dict[int, list[str]]:
    return {step: [probe.name for probe in probes] for step, probes in due.items()}


def test_every_ten_epochs_and_at_the_end() -> None:
    due = due_steps([KNN, LINEAR], num_images=1000, batch_size=100, total_steps=250)
    assert names(due) == {100: ["knn"], 200: ["knn"], 250: ["knn", "linear"]}


def test_a_probe_that_falls_on_the_end_is_due_once() -> None:
    due = due_steps([KNN], num_images=1000, batch_size=100, total_steps=200)
    assert names(due) == {100: ["knn"], 200: ["knn"]}


def test_no_probe_is_due_without_probes() -> None:
    assert due_steps([], num_images=10, batch_size=2, total_steps=5) == {}
