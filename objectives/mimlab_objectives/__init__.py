"""The science of mimlab: maskings, targets, backbones, objectives, probes. Knows no platform."""

from mimlab_objectives.plugins import load_plugins
from mimlab_objectives.registry import import_all


def discover() -> None:
    """Register every masking, target, tokenizer and objective, this package's first (idempotent).

    Raises PluginError for another package that cannot be loaded or registers a taken name.
    """
    for room in ("masking", "targets", "tokenizers", "objectives"):
        import_all(f"{__name__}.{room}")
    load_plugins()
