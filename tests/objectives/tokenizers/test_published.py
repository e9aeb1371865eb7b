"""Weights of published tokenizers: how they are read, kept and refused."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from published_weights import DALLE, VQGAN, VQKD, dalle_weights, vqgan_weights, vqkd_weights
from torch import Tensor

from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.weights import file_sha256
from mimlab_objectives.tokenizers.base import patch_encoders
from mimlab_objectives.tokenizers.dalle import DalleTokenizer
from mimlab_objectives.tokenizers.published import PublishedTokenizer
from mimlab_objectives.tokenizers.vqgan import VqganTokenizer
from mimlab_objectives.tokenizers.vqkd import VqkdTokenizer

GRID = (4, 4)
PARTS: dict[str, tuple[dict[str, Any], Callable[[], dict[str, Tensor]]]] = {
    "dalle": (DALLE, dalle_weights),
    "vqgan": (VQGAN, vqgan_weights),
    "vqkd": (VQKD, vqkd_weights),
}


def tokenizer(name: str = "dalle", **params: Any) -> PublishedTokenizer:
    entry = patch_encoders[name]
    built = entry.part(entry.params.model_validate({**PARTS[name][0], **params}), GRID)
    assert isinstance(built, DalleTokenizer | VqganTokenizer | VqkdTokenizer)
    return built


def saved(path: Path, content: object, **options: Any) -> str:
    if path.suffix == ".safetensors":
        assert isinstance(content, dict)
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path, **options)
    return str(path)


def images_for(built: PublishedTokenizer) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, built.size, built.size, generator=generator)


def refusal(**params: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        tokenizer(**params)
    assert caught.value.field == "weights"
    return str(caught.value)


@pytest.mark.parametrize("name", PARTS)
def test_every_way_of_saving_the_weights_gives_the_same_tokenizer(
    tmp_path: Path, name: str
) -> None:
    weights = PARTS[name][1]()
    files = [
        saved(tmp_path / "plain.pt", weights),
        saved(tmp_path / "old.pt", weights, _use_new_zipfile_serialization=False),
        saved(tmp_path / "model.pth", {"model": weights, "epoch": 99}),
        saved(tmp_path / "lightning.ckpt", {"state_dict": weights}),
        saved(tmp_path / "plain.safetensors", weights),
    ]
    built = [tokenizer(name, weights=file) for file in files]
    assert len({one.weights_sha256() for one in built}) == 1
    codes = [one.encode(images_for(one)) for one in built]
    assert all(torch.equal(found, codes[0]) for found in codes)
    assert codes[0].min() >= 0 and codes[0].max() < built[0].width


@pytest.mark.parametrize("name", PARTS)
def test_a_saved_tokenizer_needs_no_file_of_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.pt"
    first = tokenizer(name, weights=saved(path, PARTS[name][1]()))
    assert first.params.weights is None and first.params.sha256 == file_sha256(path)
    path.unlink()
    again = patch_encoders[name].part(first.params, GRID)
    with pytest.raises(ParamsError, match="there are none yet"):
        again.encode(images_for(first))
    again.load_state_dict(first.state_dict())
    assert again.weights_sha256() == first.weights_sha256()
    assert torch.equal(again.encode(images_for(first)), first.encode(images_for(first)))


def test_other_weights_have_another_hash(tmp_path: Path) -> None:
    one = tokenizer(weights=saved(tmp_path / "one.pt", dalle_weights(0)))
    other = tokenizer(weights=saved(tmp_path / "other.pt", dalle_weights(1)))
    assert one.weights_sha256() != other.weights_sha256()


def test_a_copy_and_a_pickle_encode_as_the_original(tmp_path: Path) -> None:
    built = tokenizer(weights=saved(tmp_path / "weights.pt", dalle_weights()))
    images = images_for(built)
    for twin in (copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        assert torch.equal(twin.encode(images), built.encode(images))


def test_a_file_that_changes_later_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    built = tokenizer(weights=saved(path, dalle_weights()))
    before = built.weights_sha256()
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    assert built.weights_sha256() == before


def test_half_precision_weights_are_computed_with_in_full(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in dalle_weights().items()}
    built = tokenizer(weights=saved(tmp_path / "half.pt", halves))
    assert {tensor.dtype for tensor in built.state_dict().values()} == {torch.float32}
    assert torch.equal(built.state_dict()["blocks.input.w"], halves["blocks.input.w"].float())


@pytest.mark.parametrize("name", PARTS)
def test_codes_are_the_same_under_autocast(tmp_path: Path, name: str) -> None:
    built = tokenizer(name, weights=saved(tmp_path / "weights.pt", PARTS[name][1]()))
    images = images_for(built)
    with torch.autocast("cpu", torch.bfloat16):
        found = built.encode(images)
    assert torch.equal(found, built.encode(images))


def test_building_draws_nothing_and_nothing_is_trained(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    built = tokenizer(weights=saved(tmp_path / "weights.pt", dalle_weights()))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(weight.requires_grad for weight in built.parameters())
    assert not built.training


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_on_meta_a_file_is_looked_at_and_takes_no_memory(tmp_path: Path, ending: str) -> None:
    good = saved(tmp_path / f"good.{ending}", dalle_weights())
    with torch.device("meta"):
        built = tokenizer(weights=good)
        assert built.encode(torch.zeros(2, 3, 32, 32)).shape == (2, 16)
    assert all(weight.is_meta for weight in built.parameters())
    assert built.params.weights == good
    bad = saved(tmp_path / f"bad.{ending}", {"blocks.input.w": torch.zeros(1)})
    with torch.device("meta"):
        assert "lacks" in refusal(weights=bad)


@pytest.mark.parametrize(
    ("name", "where"), [("dalle", "openai/DALL-E"), ("vqkd", "TOKENIZER.md"), ("vqgan", "MAGE")]
)
def test_who_names_no_file_is_told_where_to_get_one(name: str, where: str) -> None:
    assert where in refusal(name=name)
    assert where in refusal(name=name, weights="nowhere.pt")
    assert "there is no file nowhere.pt" in refusal(name=name, weights="nowhere.pt")


def test_a_missing_name_is_told_with_the_nearest_that_is_there(tmp_path: Path) -> None:
    weights = dalle_weights()
    weights["blocks.output.conv.weight"] = weights.pop("blocks.output.conv.w")
    told = refusal(weights=saved(tmp_path / "weights.pt", weights))
    assert "lacks blocks.output.conv.w; it has blocks.output.conv.weight" in told


def test_names_that_it_has_not_are_told(tmp_path: Path) -> None:
    weights = dalle_weights()
    weights["blocks.group_1.block_2.res_path.conv_1.w"] = torch.zeros(2, 8, 3, 3)
    weights["blocks.group_1.block_2.res_path.conv_1.b"] = torch.zeros(2)
    told = refusal(weights=saved(tmp_path / "weights.pt", weights))
    assert "holds blocks.group_1.block_2.res_path.conv_1.b and 1 more, which" in told
    assert "the nearest of its own is blocks.group_1.block_1.res_path.conv_1.b" in told


def test_a_wrong_shape_and_a_wrong_type_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pt", dalle_weights())
    told = refusal(weights=path, vocabulary=64)
    assert "blocks.output.conv.w is 32 × 64 × 1 × 1, not 64 × 64 × 1 × 1" in told
    weights = dalle_weights()
    weights["blocks.input.b"] = torch.zeros(8, dtype=torch.int64)
    told = refusal(weights=saved(tmp_path / "integers.pt", weights))
    assert "blocks.input.b holds torch.int64" in told


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, new_format: bool) -> None:
    mark = tmp_path / "mark"
    content = {**dalle_weights(), "trap": Trap(mark)}
    path = saved(tmp_path / "encoder.pkl", content, _use_new_zipfile_serialization=new_format)
    told = refusal(weights=path)
    assert "would run code" in told and "state_dict()" in told and "converted" in told
    assert "cannot be read" not in told
    assert not mark.exists()


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, ending: str, kept: int) -> None:
    path = tmp_path / f"weights.{ending}"
    saved(path, dalle_weights())
    path.write_bytes(path.read_bytes()[:kept])
    assert str(path) in refusal(weights=str(path))


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, torch.zeros(2)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    told = refusal(weights=saved(tmp_path / "weights.pt", content))
    assert "holds no state_dict" in told


def test_text_is_no_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_text("<html>not found</html>")
    assert str(path) in refusal(weights=str(path))


def test_another_file_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pt", dalle_weights())
    assert "was asked for" in refusal(weights=path, sha256="0" * 64)
    assert tokenizer(weights=path, sha256=file_sha256(Path(path))).filled


def test_a_grid_that_is_not_square_is_refused() -> None:
    entry = patch_encoders["dalle"]
    with pytest.raises(ParamsError, match="rows as columns"):
        entry.part(entry.params.model_validate({"sha256": "0" * 64}), (4, 6))


def test_resolved_names_the_file_for_good_and_identified_forgets_where_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.pt"
    saved(path, dalle_weights())
    params = patch_encoders["dalle"].params.model_validate({"weights": path.name})
    resolved = params.resolved(lambda place: str(tmp_path / place)).model_dump()
    assert (resolved["weights"], resolved["sha256"]) == (str(path), file_sha256(path))
    elsewhere = tmp_path / "elsewhere.pt"
    path.rename(elsewhere)
    again = params.model_validate({"weights": elsewhere.name})
    one = params.model_validate(resolved).identified()
    assert again.resolved(lambda place: str(tmp_path / place)).identified() == one
    assert one != params.model_validate({**resolved, "sha256": "1" * 64}).identified()


def test_its_state_goes_through_safetensors(tmp_path: Path) -> None:
    built = tokenizer(weights=saved(tmp_path / "weights.pt", dalle_weights()))
    held = safetensors.torch.save(built.state_dict())
    again = tokenizer(sha256=built.params.sha256)
    again.load_state_dict(safetensors.torch.load(held))
    assert again.weights_sha256() == built.weights_sha256()
