from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from pydantic import ValidationError
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor, nn

import mimlab_objectives
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.images import MEAN, STD
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.attention import teacher_attention
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import TeacherParams, file_sha256

VIT, GRID = "vit_tiny_patch16_224", (2, 2)
SMALL: dict[str, Any] = {"patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}


def params_of(name: str = VIT, **options: Any) -> TeacherParams:
    return TeacherParams.model_validate({"name": name, "weights": "random", **options})


def teacher(name: str = VIT, grid: tuple[int, int] = GRID, **options: Any) -> FrozenTeacher:
    return FrozenTeacher(params_of(name, **options), grid)


def saved(path: Path, size: int = 32, seed: int = 7, **options: Any) -> nn.Module:
    """A vision transformer whose weights are in a file now."""
    torch.manual_seed(seed)
    model = timm.create_model(VIT, img_size=size, num_classes=0, **options).eval()
    safetensors.torch.save_file(model.state_dict(), path)
    return model


def coloured(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def images_of(count: int, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_the_timm_model_before_its_last_norm(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    model, images = saved(path), images_of(2)
    given = images * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    given = given + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    seen = []
    model.get_submodule("blocks.4").register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        model((given - 0.5) / 0.5)  # this model's own mean and deviation
    found = teacher(weights=str(path), layer=4)(images)
    torch.testing.assert_close(found, seen[0][:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer", "grid", "size", "dim"),
    [
        (VIT, None, (2, 2), (32, 32), 192),
        (VIT, 0, (3, 2), (48, 32), 192),
        ("resnet18", None, (2, 2), (64, 64), 512),
        ("resnet18", 3, (4, 4), (64, 64), 256),
        ("convnext_atto", 1, (4, 4), (32, 32), 80),
    ],
)
def test_images_are_resized_to_the_encoders_grid(
    name: str, layer: int | None, grid: tuple[int, int], size: tuple[int, int], dim: int
) -> None:
    found = teacher(name, grid, layer=layer)
    assert found.size == size and found.dim == dim
    images = torch.randn(1, 3, 8 * grid[0], 8 * grid[1])
    assert found(images).shape == (1, grid[0] * grid[1], dim)


def test_patches_are_in_the_order_of_the_grid() -> None:
    """A bright quarter moves the features of its own patches most."""
    found = teacher("resnet18", layer=1, grid=(16, 16))
    images = torch.zeros(1, 3, 64, 64)
    before = found(images)
    for row in range(2):
        for column in range(2):
            bright = images.clone()
            bright[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 2
            moved = (found(bright) - before).abs().sum(2).view(2, 8, 2, 8).sum((1, 3))
            assert int(moved.argmax()) == 2 * row + column


def test_weights_are_no_state_and_no_parameters_and_the_same_in_every_trial() -> None:
    torch.manual_seed(1)
    first = teacher()(images_of(2))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = teacher()
    assert torch.equal(second(images_of(2)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not second.state_dict() and not list(second.parameters())
    assert not first.requires_grad


def test_weights_follow_the_module() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = teacher()

    holder = Holder()
    exact = holder.teacher(images_of(1))
    found = holder.double().teacher(images_of(1).double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
    assert holder.to("meta").teacher(images_of(1).to("meta")).device.type == "meta"


def test_training_mode_does_not_reach_it() -> None:
    found = teacher("resnet18")
    images = images_of(4)
    assert torch.equal(found.train()(images), found.eval()(images))  # batch norm would differ


def test_last_layers_are_those_of_the_model_with_its_class_token() -> None:
    found = teacher(grid=(8, 8), layer=1, **SMALL)
    images = images_of(2)
    outputs: list[Tensor] = []
    model: Any = found.model_on(images.device)
    for block in model.blocks:
        block.register_forward_hook(lambda *call: outputs.append(call[2]))
    layers = found.layers(images, 2)
    assert found.num_alike == 2 and found.has_class_token and found.dim == 32
    assert layers.shape == (2, 2, 65, 32)
    torch.testing.assert_close(layers, torch.stack(outputs[:2]))
    torch.testing.assert_close(found(images), layers[1][:, 1:])


@pytest.mark.parametrize(
    ("name", "alike", "prefix"),
    [
        ("resnet18", 1, 0),
        ("deit_tiny_distilled_patch16_224", 12, 2),
        ("vit_wee_patch16_reg1_gap_256", 14, 1),
    ],
)
def test_stages_of_other_grids_are_not_alike(name: str, alike: int, prefix: int) -> None:
    found = teacher(name)
    assert (found.num_alike, found.num_prefix_tokens) == (alike, prefix)
    assert found.has_class_token == (prefix == 2)  # a register is none
    assert found.layers(images_of(1), 1).shape == (1, 1, 4 + prefix, found.dim)


def test_colours_are_as_the_model_learned_them() -> None:
    """A CLIP model subtracts CLIP's mean where the images had ImageNet's subtracted."""
    found = teacher("vit_base_patch16_clip_224", grid=(8, 8), **SMALL)
    pixels = torch.rand(1, 3, 32, 32)
    seen = found.see(coloured(pixels, MEAN, STD))
    theirs = coloured(pixels, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    torch.testing.assert_close(seen, theirs, rtol=1e-4, atol=1e-5)


def test_attention_is_that_of_the_same_encoder() -> None:
    found = teacher(grid=(8, 8), **SMALL)
    images = images_of(2)
    encoder = VitBackbone(BackboneParams(name=VIT, **SMALL), 32).eval()
    model = found.model_on(images.device)
    encoder.vit.load_state_dict(model.state_dict())
    attention = teacher_attention(found, images)
    torch.testing.assert_close(attention, encoder.last_attention(found.see(images)))
    assert attention.shape == (2, 64) and not attention.requires_grad


def test_a_file_serves_another_grid_and_is_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    saved(path, 16, **SMALL)
    params = params_of(weights="teacher.safetensors", **SMALL)
    known = params.resolved(lambda text: str(tmp_path / text))
    assert known.weights == str(path) and known.sha256 == file_sha256(path)
    assert known.resolved(lambda text: text) == known
    found = FrozenTeacher(known, (8, 8))
    assert found(images_of(1)).shape == (1, 64, 32)
    elsewhere = path.rename(tmp_path / "moved.safetensors")
    moved = params_of(weights=str(elsewhere), **SMALL).resolved(lambda text: text)
    assert moved.identified() == known.identified() != known
    saved(elsewhere, 16, seed=8, **SMALL)
    other = params_of(weights=str(elsewhere), **SMALL).resolved(lambda text: text)
    assert other.identified() != known.identified()


def test_a_file_that_has_changed_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    saved(path, **SMALL)
    known = params_of(weights=str(path), **SMALL).resolved(lambda text: text)
    early = FrozenTeacher(known, (8, 8))
    saved(path, seed=8, **SMALL)
    for build in (lambda: FrozenTeacher(known, (8, 8)), lambda: early(images_of(1))):
        with pytest.raises(
            ParamsError, match="another file than the study was submitted"
        ) as caught:
            build()
        assert caught.value.field == "teacher.weights"
        assert str(known.sha256) in str(caught.value) and file_sha256(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "field", "message"),
    [
        ("vit_tinny_patch16_224", {}, "name", "nearest names are vit_tiny"),
        (VIT, {"layer": 12}, "layer", "layers 0 to 11, not 12"),
        (VIT, {"weights": "/none/teacher.safetensors"}, "weights", "there is no file"),
        ("inception_v4", {}, "name", "encoder's grid is 2×2; take another"),
        ("resnet18", {"depth": 3}, "name", "'resnet18' with depth 3 gives no feature maps"),
        (VIT, {"embed_dim": 32, "num_heads": 5}, "name", "with embed_dim 32 with num_heads 5"),
        ("vit_base_patch32_plus_256", {"weights": "timm"}, "weights", "timm has no weights of"),
    ],
)
def test_what_cannot_teach_is_refused_before_any_weight_is_made(
    name: str, options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        teacher(name, **options)
    assert caught.value.field == f"teacher.{field}"


def test_a_file_that_holds_no_such_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ParamsError, match=r"holds no weights of vit_tiny.* is missing in it"):
        teacher(weights=str(path))
    saved(path, **SMALL)
    with pytest.raises(ParamsError, match=r"another size.* is .*32 in it, not .*48"):
        teacher(grid=(8, 8), weights=str(path), **{**SMALL, "embed_dim": 48})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ParamsError, match="cannot be read as safetensors"):
        teacher(grid=(8, 8), weights=str(path), **SMALL)


@pytest.mark.parametrize(
    "given",
    [
        {"name": VIT},
        {"weights": "random"},
        {"name": VIT, "weights": ""},
        {"name": VIT, "weights": "timm", "depth": 3},
        {"name": VIT, "weights": "random", "sha256": "0" * 64},
        {"name": VIT, "weights": "x.safetensors", "sha256": "0"},
    ],
)
def test_parameters_without_effect_or_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ParamsError)):
        TeacherParams.model_validate(given)


USE = f"""
import torch
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import TeacherParams
teacher = FrozenTeacher(TeacherParams(name="{VIT}", weights="timm"), (2, 2))
try:
    teacher(torch.zeros(1, 3, 32, 32))
except ParamsError as error:
    print(error.field, error)
"""


def test_weights_that_cannot_be_fetched_are_one_message(tmp_path: Path) -> None:
    """In a process of its own: the hub reads its settings once."""
    env = os.environ | {
        "PYTHONPATH": str(Path(mimlab_objectives.__path__[0]).parent),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path),
    }
    command = [sys.executable, "-c", USE]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"teacher.weights timm's weights of {VIT} are not in its cache and ")
    assert "or name a file" in told and told.count("\n") == 1
