"""What every tokenizer by k-means and every encoder of features promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.pixels import unpatchify
from mimlab_objectives.targets.tokens import TokenParams, TokenTarget
from mimlab_objectives.tokenizers.base import PatchEncoder, patch_encoders
from mimlab_objectives.tokenizers.features import FeatureEncoder
from mimlab_objectives.tokenizers.kmeans import K_CLIP, FeatureKMeans
from mimlab_objectives.tokenizers.kmeans_codebook import SEED
from mimlab_objectives.tokenizers.kmeans_hog import HogKMeans
from mimlab_objectives.tokenizers.kmeans_pixels import PixelKMeans

GRID = (4, 4)
VIT: dict[str, Any] = {
    "name": "vit_tiny_patch16_224",
    "weights": "random",
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}
FEW: dict[str, Any] = {"vocabulary": 16, "restarts": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "features of a ViT": ("kmeans", {**FEW, "teacher": VIT}),
    "an early layer": ("kmeans", {**FEW, "teacher": {**VIT, "layer": 0}, "distance": "cosine"}),
    "pixels": ("kmeans_pixels", {**FEW, "patch_size": 4}),
    "whitened pixels": ("kmeans_pixels", {**FEW, "patch_size": 4, "whiten": True}),
    "hog": ("kmeans_hog", {**FEW, "patch_size": 4}),
    "stored features": ("features", {"teacher": VIT}),
    "components": ("features", {"teacher": VIT, "dim": 5}),
    "the largest": ("features", {"teacher": VIT, "top_k": 3}),
}


def build(case: str, grid: tuple[int, int] = GRID) -> PatchEncoder:
    name, params = CASES[case]
    return built(name, params, grid)


def built(name: str, params: dict[str, Any], grid: tuple[int, int] = GRID) -> PatchEncoder:
    entry = patch_encoders[name]
    return entry.part(entry.params.model_validate(params), grid)


def images_of(count: int, side: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def fitted(encoder: PatchEncoder, seed: int = SEED) -> PatchEncoder:
    if encoder.fit_points:
        encoder.fit(encoder.points(images_of(64, encoder.size)).flatten(0, 1), seed)
    return encoder


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_gives_a_code_or_a_feature_of_each_patch(case: str) -> None:
    encoder = fitted(build(case))
    assert encoder.size == 16
    found = encoder.encode(images_of(3))
    if encoder.kind == "codes":
        assert found.shape == (3, 16) and found.dtype == torch.int64
        assert int(found.min()) >= 0 and int(found.max()) < encoder.width
    else:
        assert found.shape == (3, 16, encoder.width) and found.dtype == torch.float32


def test_an_image_gives_the_same_in_any_batch(case: str) -> None:
    encoder = fitted(build(case))
    images = images_of(6)
    together = encoder.encode(images)
    alone = torch.cat([encoder.encode(images[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


def test_what_a_patch_shows_is_given_in_its_place(case: str) -> None:
    """Rows one after the other: the patch that changes is where most changes."""
    encoder = fitted(build(case))
    images = images_of(1)
    of = encoder.points if encoder.fit_points else encoder.encode
    for row, column in ((0, 1), (1, 0), (2, 3), (3, 3)):
        changed = images.clone()
        patch = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
        changed[..., *patch] = images_of(1, 4, seed=1)
        difference = (of(changed) - of(images)).norm(dim=-1)[0]
        assert int(difference.argmax()) == 4 * row + column


def test_its_state_says_all_that_it_learned(case: str) -> None:
    first, loaded = fitted(build(case)), build(case)
    loaded.load_state_dict(first.state_dict())
    assert torch.equal(loaded.encode(images_of(4, seed=1)), first.encode(images_of(4, seed=1)))
    assert loaded.weights_sha256() == first.weights_sha256()


def test_a_seed_gives_one_tokenizer(case: str) -> None:
    first, again = (fitted(build(case), 3) for _ in range(2))
    assert first.weights_sha256() == again.weights_sha256()
    if first.kind == "codes":
        assert fitted(build(case), 4).weights_sha256() != first.weights_sha256()


def test_its_hash_changes_with_every_tensor(case: str) -> None:
    encoder = fitted(build(case))
    before = encoder.weights_sha256()
    teacher = "teacher" in CASES[case][1]
    assert any("blocks.1.mlp" in name for name in encoder.all_weights()) == teacher
    for name, tensor in encoder.all_weights().items():
        kept = tensor.clone()
        tensor.view(-1)[0] += 1
        assert encoder.weights_sha256() != before, name
        tensor.copy_(kept)
    assert encoder.weights_sha256() == before


@pytest.mark.parametrize("case", [case for case in CASES if "teacher" in CASES[case][1]])
def test_its_hash_changes_with_the_teacher(case: str) -> None:
    name, params = CASES[case]
    other = built(name, {**params, "teacher": {**params["teacher"], "depth": 3}})
    other.load_state_dict(fitted(build(case)).state_dict())
    assert other.weights_sha256() != fitted(build(case)).weights_sha256()


def test_codes_of_constant_colours_stand_in_raster_order() -> None:
    colours = torch.linspace(-2, 2, 16)[:, None].expand(16, 48)
    for whiten in (False, True):
        encoder = built("kmeans_pixels", {**FEW, "patch_size": 4, "whiten": whiten})
        encoder.fit(colours.repeat(4, 1), SEED)
        order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
        plain = encoder.encode(unpatchify(colours[None], 4, GRID))[0]
        assert len(plain.unique()) == 16
        mixed = encoder.encode(unpatchify(colours[order][None], 4, GRID))[0]
        assert torch.equal(mixed, plain[order])


def test_distance_decides_which_code_is_nearest() -> None:
    """Centroids (1, 0) and (3, 1), point (3, 0.3): the second in distance, the first in angle."""
    image = torch.tensor([3, 0.3, 0]).view(1, 3, 1, 1)
    for distance, expected in (("l2", 1), ("cosine", 0)):
        params = {"vocabulary": 2, "patch_size": 1, "distance": distance}
        encoder = built("kmeans_pixels", params, (1, 1))
        codebook = torch.tensor([[1.0, 0, 0], [3, 1, 0]])
        if distance == "cosine":
            codebook = functional.normalize(codebook, dim=1)
        encoder.load_state_dict({"codebook": codebook})
        assert encoder.encode(image).tolist() == [[expected]]


def test_points_are_clustered_in_angle_where_it_says_so() -> None:
    directions = functional.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), dim=1)
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (300,), generator=generator)
    lengths = torch.rand(300, 1, generator=generator) * 20 + 0.1
    points = directions[truth] * lengths
    params = {"vocabulary": 3, "patch_size": 1, "distance": "cosine", "restarts": 30}
    encoder = built("kmeans_pixels", params, (1, 1))
    encoder.fit(points, SEED)
    codes = encoder.encode(points.view(300, 3, 1, 1))[:, 0]
    assert len({(int(a), int(b)) for a, b in zip(truth, codes, strict=True)}) == 3


@pytest.mark.parametrize(
    ("online", "name", "params"),
    [
        ({"teacher": VIT}, "kmeans", {"teacher": VIT}),
        ({"features": "hog"}, "kmeans_hog", {"patch_size": 4}),
        ({"whiten": True}, "kmeans_pixels", {"patch_size": 4, "whiten": True}),
        ({"distance": "cosine"}, "kmeans_pixels", {"patch_size": 4, "distance": "cosine"}),
    ],
)
def test_codes_in_every_step_are_those_that_are_stored(
    online: dict[str, Any], name: str, params: dict[str, Any]
) -> None:
    target = TokenTarget(TokenParams.model_validate({**FEW, "images": 64, **online}), 4, GRID)
    target.fit(images_of(64))
    encoder = fitted(built(name, {**FEW, **params}))
    assert encoder.label in target.params.shown_as("tokens")
    images = images_of(8, seed=1)
    assert torch.equal(target.compute(images), encoder.encode(images))


def test_principal_components_are_those_of_numpy_and_none_is_lost() -> None:
    plain, reduced = fitted(build("stored features")), fitted(build("components"))
    points = plain.encode(images_of(64)).flatten(0, 1).double()
    centred = points - points.mean(0)
    found = reduced.encode(images_of(64)).flatten(0, 1).double()
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    expected = centred @ rows[:5].T
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.square().sum(0).sqrt(), values[:5], atol=1e-3, rtol=1e-4)
    whole = fitted(built("features", {"teacher": VIT, "dim": 32}))
    kept = whole.encode(images_of(4))
    back = kept @ whole.get_buffer("axes").T + whole.get_buffer("mean")
    torch.testing.assert_close(back, plain.encode(images_of(4)), atol=1e-4, rtol=1e-4)


def test_the_largest_numbers_are_kept_where_they_are() -> None:
    whole, few = (build(name).encode(images_of(2)) for name in ("stored features", "the largest"))
    assert ((few != 0).sum(-1) == 3).all()
    assert torch.equal(few[few != 0], whole[few != 0])
    assert (few.abs().sort(-1).values[..., -3:] == whole.abs().sort(-1).values[..., -3:]).all()


def test_a_teacher_sees_images_of_its_own_size_unscaled() -> None:
    encoder = build("features of a ViT", (3, 3))
    assert isinstance(encoder, FeatureKMeans) and encoder.size == 12
    images = images_of(1, 12)
    expected = images * encoder.teacher.scale + encoder.teacher.shift
    assert torch.equal(encoder.teacher.see(images), expected)


def test_k_clip_has_the_settings_of_its_paper() -> None:
    with torch.device("meta"):
        encoder = FeatureKMeans(K_CLIP, (14, 14))
    assert encoder.size == 448 and encoder.width == 8192
    assert encoder.codebook.shape == (8192, 4096)
    assert encoder.fit_points == 8192 * 512
    assert (K_CLIP.iterations, K_CLIP.restarts, K_CLIP.distance, SEED) == (20, 5, "l2", 1234)
    assert encoder.label == "kmeans-resnet50x64_clip-timm-layer4-8192"


def test_labels_say_what_is_encoded() -> None:
    assert {name: build(name).label for name in CASES} == {
        "features of a ViT": "kmeans-vit_tiny_patch16_224-random-16",
        "an early layer": "kmeans-vit_tiny_patch16_224-random-layer0-cosine-16",
        "pixels": "kmeans-pixels-16",
        "whitened pixels": "kmeans-pixels-whitened-16",
        "hog": "kmeans-hog-16",
        "stored features": "features-vit_tiny_patch16_224-random",
        "components": "features-vit_tiny_patch16_224-random-pca5",
        "the largest": "features-vit_tiny_patch16_224-random-top3",
    }


@pytest.mark.parametrize(
    ("name", "params", "grid", "field", "message"),
    [
        ("kmeans", {"teacher": {"name": "vit_tinny", "weights": "random"}}, GRID,
         "teacher.name", "timm knows no model 'vit_tinny'"),
        ("features", {"teacher": {"name": "inception_v4", "weights": "random"}}, GRID,
         "teacher.name", "the encoder's grid is 4×4; take another"),
        ("kmeans", {"teacher": VIT}, (4, 2), "grid", "as many rows as columns"),
        ("features", {"teacher": VIT}, (4, 2), "grid", "as many rows as columns"),
        ("kmeans_pixels", {}, (1, 2), "grid", "images would have 16×32 px"),
        ("kmeans_hog", {"hog": {"cell": 5}}, GRID, "hog.cell", "do not tile a patch of 16 px"),
        ("features", {"teacher": VIT, "dim": 33}, GRID, "dim", "has 32 channels there"),
        ("features", {"teacher": VIT, "top_k": 32}, GRID, "top_k", "a patch has 32 numbers"),
        ("features", {"teacher": VIT, "dim": 4, "top_k": 4}, GRID, "top_k", "has 4 numbers"),
    ],
)  # fmt: skip
def test_what_cannot_hold_is_refused(
    name: str, params: dict[str, Any], grid: tuple[int, int], field: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        built(name, params, grid)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("case", "field", "message"),
    [
        ("pixels", "vocabulary", "16 codes need as many patches, and there are only 8"),
        ("components", "dim", "5 components need more patches, and there are only 5"),
    ],
)
def test_too_few_patches_are_refused(case: str, field: str, message: str) -> None:
    encoder = build(case)
    points = encoder.points(images_of(1)).flatten(0, 1)
    with pytest.raises(ParamsError, match=message) as caught:
        encoder.fit(points[: 8 if case == "pixels" else 5], SEED)
    assert caught.value.field == field


def test_the_registry_knows_them() -> None:
    parts: dict[str, Callable[..., PatchEncoder]] = {
        "kmeans": FeatureKMeans,
        "kmeans_pixels": PixelKMeans,
        "kmeans_hog": HogKMeans,
        "features": FeatureEncoder,
    }
    assert {name: patch_encoders[name].part for name in parts} == parts
