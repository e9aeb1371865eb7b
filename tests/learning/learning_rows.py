"""What is trained by `make learn`, and the least that each must learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """A preset of `sweeps/every-objective.yaml`."""

    family: str
    margin: float
    """Of kNN top-1, in absolute terms: the gain over the untrained encoder is sure to exceed it."""
    of_family: bool = False
    """Whether it stands for its family where time is short (`make learn-families`)."""
    fails: str = ""
    """Why it gains less than that, where it does: its test then fails if it gains as much."""


ROWS: Mapping[str, Row] = {
    "mae": Row("visible only", 0.03, of_family=True),
    "localmim": Row("visible only", 0.03),
    "dmjd": Row("visible only", 0.03),
    "mage": Row("visible only", 0.03),
    "hpm": Row("loss-guided", 0.03),
    "simmim": Row("full sequence", 0.03, of_family=True),
    "beit": Row("full sequence", 0.03),
    "maskfeat": Row("full sequence", 0.03),
    "a2mim": Row("degraded", 0.03),
    "gmml": Row("degraded", 0.03),
    "mfm": Row("degraded", 0.03),
    "ropim": Row("degraded", 0.03, of_family=True),
    "mapet": Row("two streams", 0.03, of_family=True),
    "pim": Row("two streams", 0.03),
    "cae": Row("teacher", 0.03),
    "data2vec": Row("teacher", 0.03),
    "dbot": Row("teacher", 0.03),
    "ijepa": Row("teacher", 0.03, of_family=True),
    "latent_mim": Row("teacher", 0.03),
    "maskalign": Row("teacher", 0.03),
    "capi": Row("clustering", 0.03, of_family=True),
    "masksub": Row("labels", 0.03),
    "supervised_mim": Row("labels", 0.03),
}
"""By preset: every objective, and recipes that are objectives with another target."""
