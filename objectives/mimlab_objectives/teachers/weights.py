"""Where a frozen teacher's weights come from: by chance, from timm, or from a file."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open
from torch import nn

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.teachers.architecture import FIELD, Architecture, Facts

RANDOM, PRETRAINED = "random", "timm"
_SEED = 0
_RESAMPLED = ("pos_embed", "rel_pos", "relative_position")
"""Parts of the names of what timm fits to another image size."""


class TeacherParams(Params):
    """A timm model that teaches and never changes, and what is taken from it."""

    name: str
    """A timm model whose feature maps have the encoder's grid at some image size."""
    weights: str = Field(min_length=1)
    """`random` (drawn once, the same in every trial), `timm` (that model's own pretrained ones), or
    a safetensors file with timm's names."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hash of the file of weights; null: found when the study is submitted. Training refuses
    another file."""
    layer: int | None = Field(default=None, ge=0)
    """Last block or stage of the teacher that is used, before any last norm, counted from 0; null:
    the last one."""
    patch_size: int | None = Field(default=None, ge=1)
    """Side of a patch in pixels; null: the model's own. This and the next three are for vision
    transformers whose weights are random or from a file, such as an exported encoder."""
    embed_dim: int | None = Field(default=None, ge=1)
    """Channels of a token; null: the model's own."""
    depth: int | None = Field(default=None, ge=1, le=256)
    """Number of blocks; null: the model's own."""
    num_heads: int | None = Field(default=None, ge=1)
    """Attention heads; null: the model's own."""

    @model_validator(mode="after")
    def _no_effect(self) -> TeacherParams:
        if self.weights == PRETRAINED and self.architecture.sizes:
            sizes = ", ".join(name for name, _ in self.architecture.sizes)
            raise ParamsError("weights", f"timm's have sizes of their own: leave {sizes} out")
        if self.file is None and self.sha256 is not None:
            raise ParamsError("sha256", f"is of a file, and `weights` is {self.weights}")
        return self

    @property
    def architecture(self) -> Architecture:
        names = ("patch_size", "embed_dim", "depth", "num_heads")
        sizes = ((name, getattr(self, name)) for name in names)
        return Architecture(self.name, tuple((n, size) for n, size in sizes if size is not None))

    @property
    def file(self) -> Path | None:
        """That of the weights, if they come from one."""
        return None if self.weights in (RANDOM, PRETRAINED) else Path(self.weights)

    @property
    def label(self) -> str:
        """Name and weights in short, for people."""
        source = self.weights if self.file is None else self.file.stem
        return f"{self.name}-{source}"

    @property
    def label_with_layer(self) -> str:
        """The same, with the layer if it is not the last by default."""
        return self.label if self.layer is None else f"{self.label}-layer{self.layer}"

    def resolved(self, absolute: Callable[[str], str]) -> TeacherParams:
        """The file by its absolute path and, where it can be read, the hash of its content."""
        if self.file is None:
            return self
        path = Path(absolute(self.weights))
        sha256 = self.sha256 or (file_sha256(path) if path.is_file() else None)
        return self.model_copy(update={"weights": str(path), "sha256": sha256})

    def identified(self) -> TeacherParams:
        """A file whose hash is known counts by that alone."""
        return self if self.sha256 is None else self.model_copy(update={"weights": "file"})


def file_sha256(path: Path) -> str:
    """Hexadecimal hash of a file; one that has not changed is read once."""
    stat = path.stat()
    return _file_sha256(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)
def _file_sha256(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(params: TeacherParams, facts: Facts, size: Grid) -> None:
    """Raises ParamsError where there are no such weights, where a file is not what the study was
    submitted with, or holds those of another model; reads no weight."""
    if params.weights == PRETRAINED and not facts.has_weights:
        raise _unusable(f"timm has no weights of {params.name}; take `random` or a file")
    if params.file is not None:
        _check_file(params, params.file, size)


def load(params: TeacherParams, size: Grid) -> nn.Module:
    """The teacher for an image size, on the CPU, in evaluation mode. Raises ParamsError."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(_SEED)
        model = _loaded(params, size)
    return model.eval().requires_grad_(False)


def _loaded(params: TeacherParams, size: Grid) -> nn.Module:
    model = params.architecture
    if params.weights == RANDOM:
        return model.built(size)
    if params.file is not None:
        _check_file(params, params.file, size)
        # A file with timm's names, whatever timm's own weights of this model look like.
        source = {"file": str(params.file), "custom_load": False}
        try:
            return model.built(size, pretrained=True, pretrained_cfg_overlay=source)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise _unusable(
                f"{params.file} does not fit {params.name} ({_first_line(error)}); take a file "
                "that was saved from this model"
            ) from error
    try:
        return model.built(size, pretrained=True)
    except Exception as error:  # whatever the network, the hub and the cache may raise
        raise _unusable(
            f"timm's weights of {params.name} are not in its cache and cannot be fetched "
            f"({type(error).__name__}); fetch them where there is a network, or name a file"
        ) from error


def _check_file(params: TeacherParams, path: Path, size: Grid) -> None:
    if not path.is_file():
        raise _unusable(f"there is no file {path}; give one, `timm` or `random`")
    try:
        found = file_sha256(path)
        given = _shapes_in(path)
    except (OSError, SafetensorError) as error:
        raise _unusable(
            f"{path} cannot be read as safetensors ({_first_line(error)}); give such a file, "
            "`timm` or `random`"
        ) from error
    if params.sha256 not in (None, found):
        raise _unusable(
            f"{path} is another file than the study was submitted with: its sha256 is {found}, "
            f"and it was {params.sha256}; put that file back, or submit the study again"
        )
    with shapes_only():
        own = {k: tuple(v.shape) for k, v in params.architecture.built(size).state_dict().items()}
    if missing := sorted(own.keys() - given.keys()):
        raise _unusable(f"{path} holds no weights of {params.name}: {missing[0]} is missing in it")
    fixed = (k for k in own if not any(part in k for part in _RESAMPLED))
    if other := next((k for k in fixed if own[k] != given[k]), None):
        raise _unusable(
            f"{path} holds weights of another size than {params.name}: {other} is "
            f"{_text(given[other])} in it, not {_text(own[other])}"
        )


def _shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _unusable(message: str) -> ParamsError:
    return ParamsError(f"{FIELD}.weights", message)


def _text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
