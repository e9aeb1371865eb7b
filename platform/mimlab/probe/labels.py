"""What a probe is called in metric keys and files. Kept free of torch, which reports do without."""

from __future__ import annotations


def label_of(kind: str, fraction: float | None = None) -> str:
    """`knn`; `low_shot_1pct` where a probe takes a fraction of the labels."""
    return kind if fraction is None else f"{kind}_{100 * fraction:g}pct"


def metric_key(label: str) -> str:
    """The metric key that ranks trials by a probe."""
    return f"probe/{label}/top1"
