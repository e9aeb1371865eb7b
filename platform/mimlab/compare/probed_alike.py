"""Whether the scores of a probe were measured alike: a trial that several studies share was probed
as the last one of them asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mimlab.compare.trials import TrialResult
from mimlab.storage.records import ProbeRecord


def unlike_words(trials: Sequence[TrialResult]) -> list[str]:
    """A sentence for each probe whose last results come from different settings."""
    found: dict[str, list[ProbeRecord]] = {}
    for trial in trials:
        last = {r.probe: r for r in sorted(trial.probes, key=lambda r: r.step) if r.metrics}
        for label, record in last.items():
            found.setdefault(label, []).append(record)
    words = ((label, _differing(records)) for label, records in found.items())
    return [
        f"Scores of {label} do not compare: the trials were probed by different settings "
        f"({differing}). `mimlab run` with this study's file measures them alike."
        for label, differing in words
        if differing
    ]


def _differing(records: Sequence[ProbeRecord]) -> str:
    hows: list[dict[str, Any]] = [{"protocol": r.protocol, **r.settings} for r in records]
    names = dict.fromkeys(name for how in hows for name in how)
    values = {name: sorted({json.dumps(how.get(name)) for how in hows}) for name in names}
    return "; ".join(f"{n}: {', '.join(v)}" for n, v in values.items() if len(v) > 1)
