"""Actors that die: the fit goes on to the same codebook, but not for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType

import pytest

from mimlab.errors import UserError
from mimlab.tokens.fitting import FitAsked, fit_encoder
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.passes import PassResources
from mimlab.tokens.saved import load_encoder
from mimlab_objectives.tokenizers.base import PatchEncoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local")]

ASKED = FitAsked(seed=4)
ACTORS = PassResources(workers=2, cpus=1)


def tokenizer(parts: ModuleType) -> PatchEncoder:
    return parts.PatchKMeans(parts.PatchKMeansParams(vocabulary=8, points_per_code=25), (6, 6))


def killed_by(encoder: PatchEncoder, method: str, marker: Path, *, once: bool) -> PatchEncoder:
    """A tokenizer that kills the process in which its method is called; `once`: only the first."""
    exact = getattr(encoder, method)

    def dying(images):
        if not once or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return exact(images)

    setattr(encoder, method, dying)
    return encoder


@pytest.mark.parametrize("method", ["points", "encode"])
def test_a_killed_actor_changes_nothing(coloured, parts, tmp_path, method):
    plain = fit_encoder(
        tokenizer(parts), coloured.root, tmp_path / "plain", name="a", asked=ASKED, resources=ACTORS
    )
    marker = tmp_path / "killed"
    other = fit_encoder(
        killed_by(tokenizer(parts), method, marker, once=True),
        coloured.root,
        tmp_path / "other",
        name="a",
        asked=ASKED,
        resources=ACTORS,
    )
    assert marker.exists()
    assert (other.saved, other.usage) == (plain.saved, plain.usage)
    for file in (ENCODER, WEIGHTS):
        assert (tmp_path / "other" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_actors_that_always_die_are_given_up(coloured, parts, tmp_path):
    dying = killed_by(tokenizer(parts), "points", tmp_path / "killed", once=False)
    with pytest.raises(UserError, match="died 3 times before they had done anything more"):
        fit_encoder(dying, coloured.root, tmp_path / "a", name="a", asked=ASKED, resources=ACTORS)
    assert not (tmp_path / "a").exists()


def test_actors_fill_a_bucket_as_a_folder(coloured, parts, tmp_path, bucket):
    plain, other = (
        fit_encoder(tokenizer(parts), coloured.root, out, name="a", asked=ASKED, resources=ACTORS)
        for out in (tmp_path / "plain", bucket.uri("tokenizers/mine"))
    )
    assert other.saved == plain.saved
    found = load_encoder(bucket.uri("tokenizers/mine"))
    assert found.weights_sha256() == plain.saved.weights_sha256
