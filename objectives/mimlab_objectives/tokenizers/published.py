"""What tokenizers have in common that others have trained and published."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mimlab_objectives.images import to_unit
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.teachers.weights import file_sha256
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, square_side
from mimlab_objectives.tokenizers.precision import full_precision
from mimlab_objectives.tokenizers.weights_file import FIELD, weights_for


class PublishedParams(Params):
    """Where the weights are. Sizes are those of the published file; other sizes are for tokenizers
    that were trained with the same official code."""

    weights: str | None = Field(default=None, min_length=1)
    """A local file: safetensors, or PyTorch's with nothing but tensors. Null in a saved tokenizer,
    which holds its weights itself."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hash of that file; null: whatever is found. Another file is refused."""

    def resolved(self, absolute: Callable[[str], str]) -> PublishedParams:
        """The file by its absolute path and, where it can be read, the hash of its content."""
        if self.weights is None:
            return self
        path = Path(absolute(self.weights))
        sha256 = self.sha256 or (file_sha256(path) if path.is_file() else None)
        return self.model_copy(update={"weights": str(path), "sha256": sha256})

    def identified(self) -> PublishedParams:
        """A file whose hash is known counts by that alone."""
        return self if self.sha256 is None else self.model_copy(update={"weights": None})


class PublishedTokenizer(PatchEncoder):
    """A frozen network that gives codes, with its project's own names of weights.

    Its constructor builds the networks on meta and then calls `take_weights`. Nothing is drawn:
    weights come from `params.weights`, or, where that is null and the hash of their file is known,
    from `load_state_dict`. Once they are there, `params` names no file any more, so that a saved
    tokenizer needs none.
    Raises ParamsError on `weights` without a file, for another file than `sha256` says, and as
    `weights_for`; on `grid` for one that is not square.
    """

    kind: ClassVar[EncodedKind] = "codes"
    source: ClassVar[str]
    """Where the weights are to be had, for people."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """How names of weights begin that serve for something else than encoding."""

    def __init__(
        self, params: PublishedParams, grid: Grid, *, stride: int, vocabulary: int
    ) -> None:
        """`stride` is the side of a code's patch in pixels."""
        super().__init__(params, grid)
        self.params: PublishedParams = params
        self.size = square_side((stride * grid[0], stride * grid[1]))
        self.width = vocabulary
        self.filled = False
        """Whether there are weights."""
        self.register_load_state_dict_post_hook(_mark_filled)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        """The code of every patch, int64, the same under autocast. Raises ParamsError as long as
        there are no weights."""
        if not self.filled and images.device.type != "meta":
            raise self._no_file()
        with full_precision(images.device):
            return self.codes_of(to_unit(images))

    @abstractmethod
    def codes_of(self, unit: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        """The same of images in [0, 1]."""

    def take_weights(self) -> None:
        """Fill the networks, or make room for weights that are loaded later. On meta, which has no
        values, the file is only looked at."""
        device = torch.get_default_device()
        values = device.type != "meta"
        self.eval().requires_grad_(False)
        if self.params.weights is None:
            if self.params.sha256 is None:
                raise self._no_file()
            if values:
                self.to_empty(device=device)
            return
        path = Path(self.params.weights)
        own = self.state_dict()
        try:
            found = weights_for(own, path, ignored=self.ignored, values=values)
        except ParamsError as error:
            raise ParamsError(FIELD, f"{error}; what is read here is {self.source}") from error
        sha256 = file_sha256(path)
        if self.params.sha256 not in (None, sha256):
            raise ParamsError(
                FIELD, f"{path} has the sha256 {sha256}, and {self.params.sha256} was asked for"
            )
        if values:
            self.load_state_dict(found, assign=True)
            self.to(device).requires_grad_(False)
            self.params = self.params.model_copy(update={"weights": None, "sha256": sha256})

    def _no_file(self) -> ParamsError:
        return ParamsError(FIELD, f"there are none yet: name a local file of {self.source}")


def _mark_filled(module: nn.Module, _keys: object) -> None:
    assert isinstance(module, PublishedTokenizer)
    module.filled = True
