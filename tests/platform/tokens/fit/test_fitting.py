"""A fit learns from the patches that the sample chooses, whoever gathers them, once or resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mimlab.data.manifest import DataSet
from mimlab.data.reader import read_rows
from mimlab.data.views import decode
from mimlab.errors import UserError
from mimlab.storage.remote_path import RemotePath
from mimlab.tokens import passes
from mimlab.tokens.fitting import FitAsked, FitResult, fit_encoder
from mimlab.tokens.passes import PassProgress, PassResources
from mimlab.tokens.sample import PatchSample
from mimlab.tokens.saved import load_encoder, load_patches
from mimlab.train.pixels import normalise
from mimlab_objectives.targets.pixels import patchify
from mimlab_objectives.tokenizers.base import PatchEncoder

GRID = (6, 6)
SEED = 4
ASKED = FitAsked(seed=SEED)
HERE = PassResources(workers=0)


@pytest.fixture
def made(parts: ModuleType) -> Callable[..., PatchEncoder]:
    """A tokenizer that has learned nothing: 8 codes of 25 patches each, unless told otherwise."""

    def make(vocabulary: int = 8, points_per_code: int = 25) -> PatchEncoder:
        params = parts.PatchKMeansParams(vocabulary=vocabulary, points_per_code=points_per_code)
        return parts.PatchKMeans(params, GRID)

    return make


def pixels_of(data: DataSet, count: int) -> Float[Tensor, "count 3 24 24"]:
    """The first images of the split, which are their own centre views."""
    table = read_rows(data.split("train"), np.arange(count))
    images = [decode(memoryview(image.as_buffer())) for image in table["image"]]
    return normalise(torch.from_numpy(np.stack(images)))


def test_it_learns_from_the_chosen_patches_in_the_order_of_rows(coloured, made, tmp_path):
    result = fit_encoder(
        made(), coloured.root, tmp_path / "mine", name="mine", asked=ASKED, resources=HERE
    )
    sample = PatchSample.of(SEED, images=60, tokens=36, wanted=200)
    rows = np.arange(60)
    patches = patchify(pixels_of(coloured, 60), 4)
    own = made()
    own.fit(patches[torch.from_numpy(sample.chosen(rows, rows))], SEED)
    found = load_encoder(tmp_path / "mine")
    assert found.weights_sha256() == own.weights_sha256() == result.saved.weights_sha256
    fitted = result.saved.fitted
    assert fitted is not None and (fitted.points, fitted.split, fitted.seed) == (200, "train", SEED)
    assert fitted.images == coloured.fingerprint
    assert (result.images, result.before, result.skipped) == (60, 0, 0)


def test_mean_patches_and_usage_are_those_of_the_images_looked_at(coloured, made, tmp_path):
    result = fit_encoder(
        made(), coloured.root, tmp_path / "mine", name="mine", asked=ASKED, resources=HERE
    )
    looked_at = pixels_of(coloured, 15)  # 8 codes × 64 patches ÷ 36 patches of an image
    codes = load_encoder(tmp_path / "mine").encode(looked_at).flatten()
    patches = load_patches(tmp_path / "mine")
    assert patches is not None and result.usage is not None
    pixels = patchify(looked_at, 4).flatten(0, 1)
    for code in range(8):
        own = pixels[codes == code]
        expected = own.mean(0) if len(own) else torch.zeros(48)
        torch.testing.assert_close(patches[code], expected, rtol=1e-5, atol=1e-6)
    assert result.usage.patches == 15 * 36 and result.usage.used == len(codes.unique())


@pytest.mark.parametrize("batch", [1, 5])
def test_the_codebook_does_not_depend_on_the_batch(coloured, made, tmp_path, batch):
    plain, other = (
        fit_encoder(made(), coloured.root, tmp_path / name, name="a", asked=ASKED, resources=how)
        for name, how in (("plain", HERE), ("other", PassResources(workers=0, batch=batch)))
    )
    assert other.saved == plain.saved


@pytest.mark.slow
def test_the_codebook_does_not_depend_on_who_gathers(ray_local, coloured, made, tmp_path):
    plain, other = (
        fit_encoder(made(), coloured.root, tmp_path / name, name="a", asked=ASKED, resources=how)
        for name, how in (("plain", HERE), ("other", PassResources(workers=2, cpus=1)))
    )
    assert other.saved == plain.saved and other.usage == plain.usage
    assert (load_patches(tmp_path / "plain") == load_patches(tmp_path / "other")).all()


def test_a_limit_takes_the_first_images_and_a_seed_others_of_their_patches(
    coloured, made, tmp_path
):
    def fit(name: str, asked: FitAsked) -> FitResult:
        return fit_encoder(
            made(), coloured.root, tmp_path / name, name=name, asked=asked, resources=HERE
        )

    few = fit("few", FitAsked(limit=7))
    assert few.images == 7 and few.saved.fitted is not None and few.saved.fitted.points == 200
    scarce = fit("scarce", FitAsked(limit=3))
    assert scarce.saved.fitted is not None and scarce.saved.fitted.points == 3 * 36  # all of them
    hashes = {fit(str(seed), FitAsked(seed=seed)).saved.weights_sha256 for seed in (0, 1)}
    assert len({few.saved.weights_sha256, *hashes}) == 3


def test_a_fit_that_failed_goes_on_with_what_it_had(coloured, made, tmp_path, monkeypatch):
    plain = fit_encoder(
        made(), coloured.root, tmp_path / "plain", name="a", asked=ASKED, resources=HERE
    )
    seen: list[PassProgress] = []

    def stop_half_way(now: PassProgress) -> None:
        if now.done >= 36:
            raise KeyboardInterrupt

    again = {"name": "a", "asked": ASKED, "resources": HERE}
    with pytest.raises(KeyboardInterrupt):
        fit_encoder(made(), coloured.root, tmp_path / "again", on_progress=stop_half_way, **again)
    assert not (tmp_path / "again").exists()
    (left,) = tmp_path.glob("again.fitting-*")
    with pytest.raises(UserError, match="exists already"):
        fit_encoder(
            made(), coloured.root, tmp_path / "plain", name="a", asked=ASKED, resources=HERE
        )
    result = fit_encoder(
        made(), coloured.root, tmp_path / "again", on_progress=seen.append, **again
    )
    assert result.before == 36
    assert seen[0].before == seen[0].done == result.before
    assert result.saved == plain.saved
    assert not left.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["again", "plain"]


def test_in_a_bucket_it_is_the_same_and_goes_on_too(coloured, made, tmp_path, bucket):
    def stop(now: PassProgress) -> None:
        if now.done >= 36:
            raise KeyboardInterrupt

    out = bucket.uri("tokenizers/mine")
    again = {"name": "a", "asked": ASKED, "resources": HERE}
    with pytest.raises(KeyboardInterrupt):
        fit_encoder(made(), coloured.root, out, on_progress=stop, **again)
    result = fit_encoder(made(), coloured.root, out, **again)
    plain = fit_encoder(made(), coloured.root, tmp_path / "plain", **again)
    assert result.before == 36 and result.saved == plain.saved
    assert load_encoder(out).weights_sha256() == plain.saved.weights_sha256
    names = {name for name, _ in RemotePath.parse(bucket.uri("tokenizers")).entries()}
    assert names == {"mine"}


def test_what_another_fit_gathered_is_not_taken(coloured, made, tmp_path):
    def stop(now: PassProgress) -> None:
        if now.stage == "patches":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_encoder(
            made(),
            coloured.root,
            tmp_path / "a",
            name="a",
            asked=ASKED,
            resources=HERE,
            on_progress=stop,
        )
    other = FitAsked(seed=SEED + 1)
    result = fit_encoder(
        made(), coloured.root, tmp_path / "a", name="a", asked=other, resources=HERE
    )
    clean = fit_encoder(
        made(), coloured.root, tmp_path / "b", name="a", asked=other, resources=HERE
    )
    assert result.before == 0 and result.saved == clean.saved


def test_what_was_learned_is_not_learned_again(coloured, made, tmp_path, monkeypatch, parts):
    def stop(now: PassProgress) -> None:
        if now.stage == "patches":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_encoder(
            made(),
            coloured.root,
            tmp_path / "a",
            name="a",
            asked=ASKED,
            resources=HERE,
            on_progress=stop,
        )
    clean = fit_encoder(
        made(), coloured.root, tmp_path / "b", name="a", asked=ASKED, resources=HERE
    )
    monkeypatch.delattr(parts.PatchKMeans, "fit")
    result = fit_encoder(
        made(), coloured.root, tmp_path / "a", name="a", asked=ASKED, resources=HERE
    )
    assert result.before == 60 and result.saved == clean.saved
    assert (load_patches(tmp_path / "a") == load_patches(tmp_path / "b")).all()


def test_images_that_cannot_be_read_are_left_out(coloured, made, tmp_path, monkeypatch):
    """The codebook is that of the points of the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path / "data"
    shutil.copytree(coloured.root, root)
    path = root / coloured.split("train").entry.shards[1].file
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[3] = b"no image" + bytes(len(images[3]) - 8)
    broken = table.set_column(1, table.schema.field("image"), pa.array(images, pa.binary()))
    pq.write_table(broken, path, row_group_size=12)
    manifest = (root / "manifest.json").read_text()
    size = coloured.split("train").entry.shards[1].bytes
    (root / "manifest.json").write_text(
        manifest.replace(f'"bytes":{size}', f'"bytes":{path.stat().st_size}')
    )
    result = fit_encoder(made(), root, tmp_path / "mine", name="a", asked=ASKED, resources=HERE)
    sample = PatchSample.of(SEED, images=60, tokens=36, wanted=200)
    lost = int(sample.counts(np.array([15]))[0])
    assert result.skipped == 1 and result.saved.fitted is not None
    assert result.saved.fitted.points == 200 - lost


def test_a_tokenizer_that_learns_nothing_is_only_saved(coloured, parts, tmp_path, monkeypatch):
    monkeypatch.delattr(passes.Passes, "run")
    encoder = parts.MeanColour(parts.ColoursParams(), GRID)
    result = fit_encoder(encoder, coloured.root, tmp_path / "colour", name="colour", resources=HERE)
    assert result.saved.fitted is None and result.usage is None
    assert load_encoder(tmp_path / "colour").kind == "features"


@pytest.mark.parametrize(
    ("vocabulary", "asked", "told"),
    [
        (80, FitAsked(limit=2), "2 images have 72 patches, fewer than the 80 codes"),
        (8, FitAsked(split="val"), "no split named 'val'; it has train, test"),
    ],
    ids=["too few patches", "no such split"],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    coloured, made, tmp_path, vocabulary, asked, told
):
    with pytest.raises(UserError, match=told):
        fit_encoder(
            made(vocabulary), coloured.root, tmp_path / "a", name="a", asked=asked, resources=HERE
        )
    assert not list(tmp_path.iterdir())


def test_two_at_once_do_not_share_a_folder(coloured, made, tmp_path):
    def another(now: PassProgress) -> None:
        with pytest.raises(UserError, match="is fitting the same; wait for it"):
            _as_another_process(lambda: fit())
        raise KeyboardInterrupt

    def fit(on_progress: Callable[[PassProgress], None] | None = None) -> FitResult:
        return fit_encoder(
            made(),
            coloured.root,
            tmp_path / "a",
            name="a",
            asked=ASKED,
            resources=HERE,
            on_progress=on_progress,
        )

    with pytest.raises(KeyboardInterrupt):
        fit(another)


def _as_another_process(call: Callable[[], object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mimlab.data.claiming.os.getpid", lambda: -1)
        call()
