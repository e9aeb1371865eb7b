from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mimlab_objectives.targets.latent import LatentParams, LatentTarget


def test_it_has_nothing_to_compute_and_nothing_to_set() -> None:
    target = LatentTarget(LatentParams(), 4, (8, 8))
    assert target.kind == "latent" and target.dim == 0 and not target.state_dict()
    with pytest.raises(NotImplementedError, match="teacher"):
        target.compute(torch.zeros(1, 3, 32, 32))
    with pytest.raises(NotImplementedError):
        target.to_pixels(torch.zeros(1, 1, 64, 0), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValidationError):
        LatentParams.model_validate({"norm": "patch"})
