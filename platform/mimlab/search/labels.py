"""Whether a data set has the labels that an objective learns from."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

from mimlab.data.manifest import DataSet, Split
from mimlab.spec.errors import Problem
from mimlab.spec.study import TrialSpec
from mimlab.storage.remote_path import opened
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.objectives.labelled import LabelParams


class LabelCheck:
    """Says what of a data set's labels does not fit a trial; reads a split's labels once."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._unlabelled: dict[str, int] = {}

    def __call__(self, spec: TrialSpec) -> Iterator[Problem]:
        """Nothing for an objective that needs no labels."""
        name, params = spec.objective.name, spec.objective
        if not objectives[name].part.uses_labels:
            return
        classes = len(self._data.classes)
        if not classes:
            message = f"{name} learns from labels, and no image of {self._data.root} has one"
            yield Problem(("objective", "name"), message)
            return
        if isinstance(params, LabelParams) and params.num_classes != classes:
            message = f"{params.num_classes}, but {self._data.root} has {classes} classes"
            yield Problem(("objective", "num_classes"), f"is {message}; give {classes}")
        missing = self._missing(spec.data.splits.train)
        if missing and not isinstance(spec.data.subset, tuple):  # classes are of labelled images
            message = (
                f"{name} needs the label of every image; {missing:,} of split "
                f"{spec.data.splits.train} have none; `data.subset` can list the classes"
            )
            yield Problem(("objective", "name"), message)

    def _missing(self, split: str) -> int:
        if split not in self._unlabelled:
            self._unlabelled[split] = _without_label(self._data.split(split))
        return self._unlabelled[split]


def _without_label(split: Split) -> int:
    missing = 0
    for shard in split.shards:
        with opened(shard.path) as file:
            labels = pq.read_table(file, columns=["label"])["label"].fill_null(-1)
        missing += int((labels.to_numpy() < 0).sum())
    return missing
