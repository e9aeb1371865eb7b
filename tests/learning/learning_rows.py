"""What is trained by `make learn`, and the least that each must learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """A preset of `sweeps/every-objective.yaml`."""

    family: str
    margin: float
    """Of kNN top-1, in absolute terms: the least gain over the untrained encoder."""
    of_family: bool = False
    """Whether it stands for its family in `make learn-families`: it has been seen to learn."""
    fails: str = ""
    """Why it gains less than that, where it does: its test then fails if it gains as much."""


_NARROWS = (
    "in 1,500 steps the effective rank of its features falls from 15 to 11, where that of `mae` "
    "rises from 16 to 23, and the gain is hardly more than noise. The cause is not known: other "
    "learning rates and image sizes gave 0.025 at most, MAE's positions and the features of the "
    "blocks before the last no more than that"
)

_BRIEF = (
    "1,500 batches of 32 images are 2.4 times the data set, which is too little to tell its gain "
    "from noise (a standard error of 0.01); longer runs are not measured"
)
_SLOW = (
    "1,500 batches of 32 images are too few; four times as many gave 0.013, which is still hardly "
    "more than noise (a standard error of 0.01)"
)
_UNTAUGHT = (
    "1,500 batches of 32 images are too few; besides, the teacher here is a network with random "
    "weights, for want of a download: the paper's is CLIP"
)

ROWS: Mapping[str, Row] = {
    "mae": Row("visible only", 0.03, of_family=True),
    "localmim": Row("visible only", 0.02),
    "dmjd": Row("visible only", 0.02, fails=_BRIEF),
    "mage": Row("visible only", 0.02, fails=_SLOW),
    "hpm": Row("loss-guided", 0.03, of_family=True),
    "simmim": Row("full sequence", 0.03, fails=_NARROWS),
    "beit": Row("full sequence", 0.02, of_family=True),
    "maskfeat": Row("full sequence", 0.02, fails=_BRIEF),
    "a2mim": Row("degraded", 0.02),
    "gmml": Row("degraded", 0.02, fails=_BRIEF),
    "mfm": Row("degraded", 0.02, fails=_BRIEF),
    "ropim": Row("degraded", 0.03, fails=_NARROWS),
    "mapet": Row("two streams", 0.02, of_family=True),
    "pim": Row("two streams", 0.02),
    "cae": Row("teacher", 0.02, fails=_BRIEF),
    "data2vec": Row("teacher", 0.02, fails=_BRIEF),
    "dbot": Row("teacher", 0.02),
    "ijepa": Row("teacher", 0.02, fails=_BRIEF),
    "latent_mim": Row("teacher", 0.02, of_family=True),
    "maskalign": Row("teacher", 0.02, fails=_UNTAUGHT),
    "capi": Row("clustering", 0.02, of_family=True),
    "masksub": Row("labels", 0.02),
    "supervised_mim": Row("labels", 0.02),
}
"""By preset: every objective, and recipes that are objectives with another target."""
