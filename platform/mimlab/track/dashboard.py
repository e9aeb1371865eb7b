"""Addresses of mimlab's own pages, for the notes that MLflow shows."""

from __future__ import annotations

import os
from urllib.parse import quote, urlencode

VARIABLE = "MIMLAB_DASHBOARD_URL"
"""Where a browser reaches `mimlab dashboard`; it belongs to a cluster, so no study says it."""


def told() -> str:
    """The dashboard's address; empty where nobody says, or where it is none."""
    said = os.environ.get(VARIABLE, "").strip().rstrip("/")
    return said if said.startswith(("http://", "https://")) else ""


def submission_link(dashboard: str, submission_id: str) -> str:
    """The page of a submission."""
    return f"{dashboard}/submissions/{quote(submission_id, safe='')}"


def trial_link(dashboard: str, submission_id: str, trial_id: str) -> str:
    """The page of a trial, as the one of that submission."""
    query = urlencode({"submission": submission_id})
    return f"{dashboard}/trials/{quote(trial_id, safe='')}?{query}"
