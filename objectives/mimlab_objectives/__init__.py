"""The science of mimlab: maskings, targets, backbones, objectives, probes. Knows no platform."""

from mimlab_objectives.registry import import_all


def discover() -> None:
    """Register every masking, target and objective of this package (idempotent)."""
    for room in ("masking", "targets", "objectives"):
        import_all(f"{__name__}.{room}")
