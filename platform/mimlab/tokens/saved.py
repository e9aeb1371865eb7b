"""A tokenizer, or a teacher whose features are stored, on disk.

<folder>/encoder.json           written last: a folder without it is no saved tokenizer
<folder>/encoder.safetensors    its state_dict, and the mean patch of each code (`patches`)
"""

from __future__ import annotations

import json
from os import PathLike
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from mimlab.data.publishing import commit, publishing_at, sync_file
from mimlab.data.shard_files import Entry
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, place_of, staged
from mimlab.tokens.building import build_encoder
from mimlab.tokens.names import ENCODER, PATCHES, WEIGHTS
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.base import PatchEncoder, patch_encoders

FORMAT = "mimlab-encoder"
VERSION = 1

Where = str | PathLike[str] | RemotePath


class Fitted(Entry):
    """What a tokenizer has learned from."""

    images: str
    """Fingerprint of the data set."""
    split: str
    points: int
    """Patches."""
    seed: int


class SavedEncoder(Entry):
    """What `encoder.json` says."""

    format: Literal["mimlab-encoder"] = FORMAT
    version: Literal[1] = VERSION
    name: str
    """The user's name for it."""
    part: str
    """Its registered name."""
    params: dict[str, Any]
    grid: tuple[int, int]
    """Rows and columns of patches."""
    label: str
    """What it is, in short, for people."""
    weights_sha256: str
    """`PatchEncoder.weights_sha256`."""
    fitted: Fitted | None
    """None where it learns nothing."""


def save_encoder(
    encoder: PatchEncoder,
    folder: Where,
    *,
    name: str,
    fitted: Fitted | None,
    patches: Float[Tensor, "codes patch_dim"] | None = None,
) -> SavedEncoder:
    """Write a tokenizer's folder, whole or not at all. Raises UserError where it cannot be made."""
    saved = SavedEncoder(
        name=name,
        part=patch_encoders.name_of(encoder),
        params=encoder.params.model_dump(mode="json"),
        grid=encoder.grid,
        label=encoder.label,
        weights_sha256=encoder.weights_sha256(),
        fitted=fitted,
    )
    tensors = _state(encoder)
    if patches is not None:
        tensors[PATCHES] = patches.cpu().contiguous()
    try:
        with publishing_at(place_of(folder), ENCODER) as partial:
            with staged(partial / WEIGHTS) as path:
                path.write_bytes(safetensors.save(tensors))
                sync_file(path)
            commit(partial / ENCODER, saved.model_dump_json(indent=1).encode() + b"\n")
    except (RemoteError, FileExistsError) as error:
        raise UserError(str(error)) from error
    return saved


def load_encoder(folder: Where) -> PatchEncoder:
    """The tokenizer as it was saved, on the CPU, in evaluation mode.

    Raises UserError where the folder is damaged, or of another version of mimlab, and where what it
    holds, a teacher's weights included, is not what was saved.
    """
    root = place_of(folder)
    saved = read_saved(root)
    file = root / ENCODER
    encoder = build_encoder(saved.part, saved.params, saved.grid, where=lambda _: str(file))
    tensors = _read_weights(root / WEIGHTS)
    tensors.pop(PATCHES, None)
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{root / WEIGHTS}: not the weights of {saved.label} ({reason}); fit it again"
        ) from error
    try:
        found = encoder.weights_sha256()
    except ParamsError as error:
        raise UserError(f"{file}: params.{error.field}: {error}") from error
    if found != saved.weights_sha256:
        raise UserError(
            f"{root}: changed codebook: its weights have the hash {found}, and {ENCODER} says "
            f"{saved.weights_sha256}; put the saved ones back, or fit it again"
        )
    return encoder.eval().requires_grad_(False)


def load_patches(folder: Where) -> Float[Tensor, "codes patch_dim"] | None:
    """The mean normalised patch of each code, in the tokenizer's own size; None where unknown."""
    return _read_weights(place_of(folder) / WEIGHTS).get(PATCHES)


def read_saved(folder: Where) -> SavedEncoder:
    """What `encoder.json` says. Raises UserError."""
    root = place_of(folder)
    file = root / ENCODER
    try:
        content = json.loads(file.read_bytes())
    except RemoteError as error:
        raise UserError(str(error)) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{root}: no {ENCODER}, so this is no saved tokenizer; "
            "make one with `mimlab tokens fit`"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); fit it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: not a saved tokenizer of mimlab (no format {FORMAT!r})")
    if content.get("version") != VERSION:
        raise UserError(
            f"{file}: format version {content.get('version')!r}, but this mimlab reads version "
            f"{VERSION}; fit it again"
        )
    try:
        return SavedEncoder.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {where}: {first['msg']}; fit it again") from error


def _state(encoder: PatchEncoder) -> dict[str, Tensor]:
    """Copies: tensors that share their memory cannot be saved as they are."""
    plain = torch.contiguous_format
    state = encoder.state_dict()
    return {name: value.detach().cpu().clone(memory_format=plain) for name, value in state.items()}


def _read_weights(file: Place) -> dict[str, Tensor]:
    try:
        return safetensors.load(file.read_bytes())
    except RemoteError as error:
        raise UserError(str(error)) from error
    except FileNotFoundError as error:
        raise UserError(f"{file}: missing; put it back, or fit it again") from error
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read: cut short or changed ({reason})") from error
