"""Names and values in the form that MLflow accepts."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping

Scalar = str | int | float | bool | None

MAX_KEY = 250
MAX_VALUE = 500
"""Of a parameter: MLflow 3.17 takes 6,000 characters, servers before 2.8 took 500."""
MAX_TAG = 5000


def run_name(point: Mapping[str, Scalar], seed: int) -> str:
    """What the user would call a trial: `random 0.75 s0`."""
    return f"{cell_name(point)} s{seed}".lstrip()[:MAX_KEY]


def cell_name(point: Mapping[str, Scalar]) -> str:
    """What trials that differ by their seed alone have in common: `random 0.75`.

    The key's last part is added where the bare value would not say what it is.
    """
    others = [value for value in point.values() if not isinstance(value, str)]
    bare = len(others) <= 1 and not any(v is None or isinstance(v, bool) for v in others)
    return " ".join(_word(key, value, bare=bare) for key, value in point.items() if key != "seed")


def _word(key: str, value: Scalar, *, bare: bool) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if bare or isinstance(value, str) else f"{key.rsplit('.', 1)[-1]}={text}"


def name_key(text: str) -> str:
    """`text` as a legal metric or parameter key: unchanged where MLflow accepts it."""
    legal = re.sub(r"[^/\w.\- :]", "_", text)
    path = posixpath.normpath(legal).lstrip("/.") or "_"
    return path[:MAX_KEY]


def param_value(text: str) -> str:
    """At most 500 characters; the hash at the end keeps two long values apart."""
    if len(text) <= MAX_VALUE:
        return text
    mark = f"… sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text[: MAX_VALUE - len(mark)] + mark


def params(identity: Mapping[str, str]) -> dict[str, str]:
    """Identity keys as MLflow parameters."""
    return {name_key(key): param_value(value) for key, value in identity.items()}
