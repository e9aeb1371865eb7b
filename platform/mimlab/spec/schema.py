"""The JSON Schema of a study file, for editors."""

from __future__ import annotations

from typing import Any

from mimlab.spec.study import study_model

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def study_schema() -> dict[str, Any]:
    """The schema with every part that is registered now. An editor shows its descriptions."""
    return {"$schema": DIALECT, **study_model().model_json_schema(), "title": "mimlab study"}
