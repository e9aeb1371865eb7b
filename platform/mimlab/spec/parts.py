"""What a study may name, in every process that reads one."""

from __future__ import annotations

import mimlab_objectives
from mimlab.errors import UserError
from mimlab_objectives.plugins import PluginError


def register_parts() -> None:
    """Register every part, plug-ins included. Raises UserError for one that cannot be loaded."""
    try:
        mimlab_objectives.discover()
    except PluginError as error:
        raise UserError(str(error)) from error
