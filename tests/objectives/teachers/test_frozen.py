from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.frozen import FrozenTeacher, TeacherOptions

VIT, GRID = "vit_tiny_patch16_224", (2, 2)


def teacher(name: str = VIT, grid: tuple[int, int] = GRID, **options: Any) -> FrozenTeacher:
    return FrozenTeacher(name, TeacherOptions.model_validate(options), grid)


def images_of(count: int, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_the_timm_model_before_its_last_norm(tmp_path: Path) -> None:
    torch.manual_seed(7)
    model = timm.create_model(VIT, img_size=32, num_classes=0).eval()
    path = tmp_path / "teacher.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    images = images_of(2)
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


@pytest.mark.parametrize(
    ("name", "options", "field", "message"),
    [
        ("vit_tinny_patch16_224", {}, "teacher", "nearest names are vit_tiny"),
        (VIT, {"layer": 12}, "layer", "layers 0 to 11, not 12"),
        (VIT, {"weights": "/none/teacher.safetensors"}, "weights", "there is no file"),
        ("inception_v4", {}, "teacher", "encoder's grid is 2×2; take another"),
    ],
)
def test_what_cannot_teach_is_refused_before_any_weight_is_made(
    name: str, options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        teacher(name, **options)
    assert caught.value.field == field


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds no weights of this teacher"):
        teacher(weights=str(path))(images_of(1))
