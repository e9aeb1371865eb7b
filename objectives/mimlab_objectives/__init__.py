"""The science of mimlab: maskings, targets, backbones, objectives, probes. Knows no platform."""

import threading

from mimlab_objectives import lean_timm
from mimlab_objectives.plugins import load_plugins
from mimlab_objectives.registry import import_all

lean_timm.install()

_discovering = threading.RLock()
"""A server's threads may ask at once; only whoever comes first registers."""


def discover() -> None:
    """Register every masking, target, tokenizer, objective and recipe, ours first (idempotent).

    Raises PluginError for another package that cannot be loaded or registers a taken name.
    """
    with _discovering:
        from mimlab_objectives.recipes.own import load_own_recipes  # torch takes seconds to import

        for room in ("masking", "targets", "tokenizers", "objectives"):
            import_all(f"{__name__}.{room}")
        load_own_recipes()
        load_plugins()
