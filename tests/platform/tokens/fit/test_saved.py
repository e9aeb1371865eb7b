"""A saved tokenizer is the tokenizer; what is not the one that was saved is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimlab.errors import UserError
from mimlab.tokens.saved import (
    ENCODER,
    WEIGHTS,
    Fitted,
    load_encoder,
    load_patches,
    read_saved,
    save_encoder,
)
from mimlab_objectives.tokenizers.base import PatchEncoder

FITTED = Fitted(images="f" * 64, split="train", points=64, seed=3)


@pytest.fixture
def fitted(parts: ModuleType) -> PatchEncoder:
    encoder = parts.PatchKMeans(parts.PatchKMeansParams(vocabulary=5), (6, 6))
    encoder.fit(torch.rand(64, 48, generator=torch.Generator().manual_seed(0)), 3)
    return encoder


@pytest.fixture
def folder(fitted: PatchEncoder, tmp_path: Path) -> Path:
    """Where it is saved."""
    patches = torch.arange(5 * 48).float().view(5, 48)
    save_encoder(fitted, tmp_path / "mine", name="mine", fitted=FITTED, patches=patches)
    return tmp_path / "mine"


def test_it_comes_back_as_it_was(fitted: PatchEncoder, folder: Path) -> None:
    found = load_encoder(folder)
    images = torch.rand(3, 3, 24, 24)
    torch.testing.assert_close(found.encode(images), fitted.encode(images), rtol=0, atol=0)
    assert (type(found), found.params, found.grid) == (type(fitted), fitted.params, fitted.grid)
    assert not found.training
    patches = load_patches(folder)
    assert patches is not None and patches[-1, -1] == 5 * 48 - 1
    saved = read_saved(folder)
    assert (saved.name, saved.part, saved.label) == ("mine", "patch_kmeans", "patch-kmeans-5")
    assert saved.weights_sha256 == fitted.weights_sha256() and saved.fitted == FITTED


def test_patches_that_nobody_knows_are_none(fitted: PatchEncoder, tmp_path: Path) -> None:
    save_encoder(fitted, tmp_path / "bare", name="bare", fitted=None)
    assert load_patches(tmp_path / "bare") is None and read_saved(tmp_path / "bare").fitted is None
    assert load_encoder(tmp_path / "bare").weights_sha256() == fitted.weights_sha256()


def change(folder: Path, **values: object) -> None:
    """Other entries in `encoder.json`; None takes one away."""
    file = folder / ENCODER
    content = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def change_codebook(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["codebook"][1, 2] += 1e-3
    save_file(tensors, folder / WEIGHTS)


def cut_short(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed codebook": (change_codebook, "changed codebook: its weights have the hash "),
    "weights cut short": (cut_short, f"{WEIGHTS}: cannot be read: cut short or changed"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS}: missing"),
    "no manifest": (lambda folder: (folder / ENCODER).unlink(), f"no {ENCODER}, so this is no"),
    "not JSON": (lambda folder: (folder / ENCODER).write_text("{"), "cannot be read as JSON"),
    "another format": (lambda f: change(f, format="x"), "not a saved tokenizer of mimlab"),
    "another version": (lambda f: change(f, version=2), "format version 2, but this mimlab reads"),
    "unknown part": (
        lambda f: change(f, part="patch_kmean"),
        "no tokenizer is called 'patch_kmean'; did you mean `patch_kmeans`",
    ),
    "another vocabulary": (
        lambda f: change(f, params={"vocabulary": 6}),
        "not the weights of patch-kmeans-5",
    ),
    "wrong parameter": (lambda f: change(f, params={"k": 6}), "k: unknown key"),
    "missing entry": (lambda f: change(f, label=None), "label: Field required"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_what_was_saved_is_refused(folder: Path, fault: str) -> None:
    damage, told = FAULTS[fault]
    damage(folder)
    with pytest.raises(UserError) as refused:
        load_encoder(folder)
    assert told in str(refused.value) and str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_both_hashes_of_a_changed_codebook_are_named(fitted: PatchEncoder, folder: Path) -> None:
    change_codebook(folder)
    with pytest.raises(UserError, match=fitted.weights_sha256()):
        load_encoder(folder)


def test_nothing_is_written_over(fitted: PatchEncoder, folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save_encoder(fitted, folder, name="other", fitted=None)
    assert (folder / WEIGHTS).read_bytes() == before and read_saved(folder).name == "mine"


def test_it_may_lie_in_a_bucket(fitted: PatchEncoder, bucket) -> None:
    uri = bucket.uri("tokenizers/mine")
    save_encoder(fitted, uri, name="mine", fitted=FITTED)
    assert load_encoder(uri).weights_sha256() == fitted.weights_sha256()
    with pytest.raises(UserError, match="exists already"):
        save_encoder(fitted, uri, name="mine", fitted=FITTED)
