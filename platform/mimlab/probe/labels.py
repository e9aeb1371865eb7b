"""What a probe is called in metric keys and files. Kept free of torch, which reports do without."""

from __future__ import annotations

_MEASURES = {"segmentation": "miou"}
"""Of probes that are not judged by their top-1 accuracy."""


def label_of(kind: str, fraction: float | None = None) -> str:
    """`knn`; `low_shot_1pct` where a probe takes a fraction of the labels."""
    return kind if fraction is None else f"{kind}_{100 * fraction:g}pct"


def metric_key(label: str, prefix: str = "probe") -> str:
    """The metric key that ranks trials by a probe."""
    return f"{prefix}/{label}/{_MEASURES.get(label, 'top1')}"
