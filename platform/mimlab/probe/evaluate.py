"""Evaluate frozen features under the protocols of a study's probes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mimlab.data.manifest import DataSet
from mimlab.probe.config import CollapseWatch, KnnProbe
from mimlab.probe.due import AnyProbe, settings_of
from mimlab.probe.features import Encode, extract
from mimlab.spec.study import Splits
from mimlab.storage.records import ProbeRecord
from mimlab_objectives.probes import knn, linear
from mimlab_objectives.probes.spread import spread

PROTOCOLS = {"knn": knn.PROTOCOL, "linear": linear.PROTOCOL}


@dataclass(frozen=True)
class ProbeData:
    """Where probes read."""

    data: DataSet
    splits: Splits
    image_size: int


@dataclass(frozen=True)
class Features:
    """Features and labels of the two splits of a probe."""

    fit: Float[Tensor, "fit dim"]
    fit_labels: Int[Tensor, " fit"]
    test: Float[Tensor, "test dim"]
    test_labels: Int[Tensor, " test"]

    @cached_property
    def spread(self) -> dict[str, float]:
        """Of the test features; probes that pool alike share it."""
        return spread(self.test)


def features_of(
    source: ProbeData,
    encodes: dict[str, Encode],
    *,
    max_fit: int | None,
    device: torch.device,
    threads: int,
) -> dict[str, Features]:
    """Features of both splits by each of `encodes`. Raises ValueError where no label is found."""
    names = (source.splits.probe_fit, source.splits.probe_test)
    splits = [source.data.split(name) for name in names]
    (fit, fit_labels), (test, test_labels) = (
        extract(
            split,
            encodes,
            image_size=source.image_size,
            max_rows=max_rows,
            device=device,
            threads=threads,
        )
        for split, max_rows in zip(splits, (max_fit, None), strict=True)
    )
    return {name: Features(fit[name], fit_labels, test[name], test_labels) for name in encodes}


def evaluate(probe: AnyProbe, features: Features, *, num_classes: int) -> dict[str, float]:
    """The probe's metrics by short name: `top1`, …, as shares in [0, 1]."""
    if isinstance(probe, KnnProbe):
        return knn.weighted_knn(
            features.fit,
            features.fit_labels,
            features.test,
            features.test_labels,
            num_classes=num_classes,
            k=probe.k,
            temperature=probe.temperature,
        )
    return linear.linear_probe(
        features.fit,
        features.fit_labels,
        features.test,
        features.test_labels,
        num_classes=num_classes,
        seed=0,
        epochs=probe.epochs,
    )


def record_of(
    probe: AnyProbe,
    features: Features,
    source: ProbeData,
    *,
    step: int,
    epoch: float,
    encoder_hash: str,
    prefix: str,
    watch: CollapseWatch,
) -> ProbeRecord:
    """The record of one probe, with the spread of its features; `prefix` begins metric keys."""
    started = time.perf_counter()
    scores = evaluate(probe, features, num_classes=len(source.data.classes))
    scores |= features.spread
    return ProbeRecord(
        probe=probe.name,
        protocol=PROTOCOLS[probe.name],
        settings=settings_of(probe, source.splits),
        step=step,
        epoch=epoch,
        metrics={f"{prefix}/{probe.name}/{key}": value for key, value in scores.items()},
        encoder_hash=encoder_hash,
        data_fingerprint=source.data.fingerprint,
        num_fit=len(features.fit),
        num_test=len(features.test),
        seconds=time.perf_counter() - started,
        time_ms=time.time_ns() // 1_000_000,
        collapse=watch.judge(scores),
    )
