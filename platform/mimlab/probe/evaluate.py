"""Evaluate an encoder under the protocols of a study's probes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from timm.models import VisionTransformer

from mimlab.probe.base import Probe
from mimlab.probe.config import CollapseWatch
from mimlab.probe.due import Reads, settings_of
from mimlab.probe.features import Encode, encoder_of, extract, raw_pixels
from mimlab.probe.given import Features, Given, ProbeData
from mimlab.storage.records import ProbeRecord
from mimlab_objectives.probes.features import Pooling

TellOf = Callable[[str, dict[str, int | float]], None]
"""Takes a probe's label and what it says of its progress."""


@dataclass(frozen=True)
class Subject:
    """What is probed, and under what name."""

    model: VisionTransformer | None
    """On the device; None: the raw pixels."""
    encoder_hash: str
    step: int = 0
    epoch: float = 0.0
    prefix: str = "probe"
    """Of the metric keys."""


@dataclass(frozen=True)
class Setting:
    """Where and how the probes of a trial run."""

    source: ProbeData
    reads: Reads
    watch: CollapseWatch
    device: torch.device
    threads: int
    tell: TellOf


def evaluate_all(
    probes: Sequence[Probe], subject: Subject, setting: Setting
) -> Iterator[ProbeRecord]:
    """The record of each probe, as soon as there is one; those of pooled features come first.

    Probes that read the same pooled features share one pass over the images. Raises ValueError
    where no label is found, or a probe has too few images.
    """
    pooled = [probe for probe in probes if probe.pools]
    for max_fit in dict.fromkeys(probe.max_fit for probe in pooled):
        group = [probe for probe in pooled if probe.max_fit == max_fit]
        encodes = {pool: _encode(subject, pool) for probe in group for pool in probe.pools}
        features = _features_of(setting, encodes, max_fit)
        for probe in group:
            yield _record(probe, subject, setting, features)
    for probe in probes:
        if not probe.pools:
            yield _record(probe, subject, setting, {})


def _encode(subject: Subject, pool: Pooling) -> Encode:
    return raw_pixels() if subject.model is None else encoder_of(subject.model, pool)


def _features_of(
    setting: Setting, encodes: dict[str, Encode], max_fit: int | None
) -> dict[str, Features]:
    """Features of both splits by each of `encodes`."""
    source = setting.source
    read = partial(
        extract,
        encodes=encodes,
        image_size=source.image_size,
        device=setting.device,
        threads=setting.threads,
    )
    fit, test = read(source.fit, max_rows=max_fit), read(source.test, max_rows=None)
    return {
        name: Features(fit.features[name], fit.labels, fit.ids, test.features[name], test.labels)
        for name in encodes
    }


def _record(
    probe: Probe, subject: Subject, setting: Setting, features: Mapping[str, Features]
) -> ProbeRecord:
    """With the spread of the features, where it has any."""
    started = time.perf_counter()
    given = Given(
        setting.source,
        subject.model,
        features,
        setting.device,
        setting.threads,
        tell=partial(setting.tell, probe.label),
    )
    result = probe.evaluate(given)
    spread = features[probe.pools[0]].spread if probe.pools else {}
    scores = result.scores | spread
    return ProbeRecord(
        probe=probe.label,
        protocol=probe.protocol,
        settings=settings_of(probe, setting.reads),
        step=subject.step,
        epoch=subject.epoch,
        metrics={f"{subject.prefix}/{probe.label}/{key}": value for key, value in scores.items()},
        encoder_hash=subject.encoder_hash,
        data_fingerprint=setting.source.data.fingerprint,
        num_fit=result.num_fit,
        num_test=result.num_test,
        seconds=time.perf_counter() - started,
        time_ms=time.time_ns() // 1_000_000,
        collapse=setting.watch.judge(scores) if spread else "",
    )
