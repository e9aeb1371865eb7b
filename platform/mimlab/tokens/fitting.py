"""Fitting a tokenizer to a data set, with Ray Data: gather points, learn, look at the codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab.data.manifest import DataSet, Split
from mimlab.data.ray_data import ray_running
from mimlab.data.shard_files import Entry
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import RemotePath, place_of
from mimlab.tokens.folders import names_in, remove, working_folder, working_in
from mimlab.tokens.gathering import PatchesActor, PointsActor, read, write
from mimlab.tokens.passes import Passes, PassResources, Progress
from mimlab.tokens.pieces import SplitPiece, pieces_of
from mimlab.tokens.sample import PatchSample
from mimlab.tokens.saved import Fitted, SavedEncoder, save_encoder
from mimlab.tokens.usage import CodeUsage
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.base import PatchEncoder, patch_encoders
from mimlab_objectives.tokenizers.patches import PatchMeans

PATCHES_PER_CODE = 64
"""Patches, on average, that the picture of a code is the mean of."""

FITTED = "fitted.safetensors"
"""In the working folder: what was learned, as a state_dict, and of how much."""
NUM_POINTS, NUM_SKIPPED = "fit/points", "fit/skipped"

Where = str | PathLike[str] | RemotePath


@dataclass(frozen=True)
class FitAsked:
    """What is to be learned from."""

    split: str = "train"
    seed: int = 0
    """Of the choice of patches, and of what is learned."""
    limit: int | None = None
    """Only so many rows of the split, the first ones; None: all."""


@dataclass(frozen=True)
class FitResult:
    """A fitted tokenizer that lies on disk."""

    saved: SavedEncoder
    images: int
    """That points were taken of."""
    before: int
    """Of these, images that an earlier try had done."""
    skipped: int
    """Of these, images that could not be read."""
    usage: CodeUsage | None
    """None where it gives no codes."""


class _Settings(Entry):
    """Everything that decides what is gathered and learned."""

    version: Literal[1] = 1
    images: str
    split: str
    rows: int
    seed: int
    points: int
    part: str
    revision: int
    params: dict[str, Any]
    grid: tuple[int, int]


def fit_encoder(
    encoder: PatchEncoder,
    images: Where,
    out: Where,
    *,
    name: str,
    asked: FitAsked | None = None,
    resources: PassResources | None = None,
    on_progress: Progress | None = None,
) -> FitResult:
    """Fit a tokenizer to centre views of a split and save it as the folder `out`.

    It learns from a keyed sample of patches of every image, or of the first `asked.limit` rows; one
    that learns nothing is only saved. At most `fit_points` points are held, and one piece more.
    What was gathered lies beside `out` until that is there: after a kill the same call does only
    what is missing. Runs on the Ray that the caller has started, whose nodes then must see `images`
    and `out`, or on a local one, or without (`PassResources.workers`). Raises UserError; whatever
    happens, `out` is either a whole tokenizer or not there.
    """
    data, target, asked = DataSet.open(images), place_of(out), asked or FitAsked()
    split = data.split(asked.split)
    sample = PatchSample.of(
        asked.seed,
        images=min(asked.limit or split.num_rows, split.num_rows),
        tokens=encoder.grid[0] * encoder.grid[1],
        wanted=encoder.fit_points,
    )
    _refuse_too_few(encoder, data, sample)
    if isinstance(target, Path):
        target = target.absolute()
    try:
        if names_in(target) or (isinstance(target, Path) and target.is_file()):
            raise UserError(f"{target}: exists already; choose another folder or remove it first")
        work = working_folder(target, _settings(encoder, data, split, sample))
        resources = resources or PassResources()
        alone = working_in(
            work,
            called=work,
            work="fitting the same",
            instead="name another folder with --to",
        )
        with alone, nullcontext() if resources.workers == 0 else ray_running():
            passes = Passes(data, sample, work, resources, on_progress)
            fit = _Fit(encoder, split, passes)
            fitted = fit.learn() if encoder.fit_points else None
            usage, patches = fit.look() if _shown(encoder) else (None, None)
            saved = save_encoder(encoder, target, name=name, fitted=fitted, patches=patches)
        remove(work)
    except RemoteError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(
            f"{target}: cannot be made ({error}); run the same again to go on"
        ) from error
    except ParamsError as error:
        raise UserError(f"{encoder.label}: {error.field}: {error}") from error
    return FitResult(saved, sample.images, fit.before, fit.skipped, usage)


class _Fit:
    """One fit at work: the tokenizer and what it is shown."""

    def __init__(self, encoder: PatchEncoder, split: Split, passes: Passes) -> None:
        self._encoder, self._split, self._passes = encoder, split, passes
        self._sample, self._work = passes.sample, passes.work
        self.before = self.skipped = 0

    def learn(self) -> Fitted:
        """Gather the points and fit the tokenizer, unless an earlier try came so far."""
        if FITTED not in names_in(self._work):
            pieces = list(pieces_of(self._split, self._sample.images))
            self.before = self._passes.run(PointsActor, self._encoder, pieces)
            points = self._points(pieces)
            self._fit(points)
            counts = {NUM_POINTS: len(points), NUM_SKIPPED: self.skipped}
            counted = {name: torch.tensor([count]) for name, count in counts.items()}
            write(self._work / FITTED, {**self._encoder.state_dict(), **counted})
        else:
            self.before = self._sample.images
        state = read(self._work / FITTED)
        num_points, self.skipped = (int(state.pop(name)) for name in (NUM_POINTS, NUM_SKIPPED))
        self._encoder.load_state_dict(state)
        return Fitted(
            images=self._passes.data.fingerprint,
            split=self._split.name,
            points=num_points,
            seed=self._sample.seed,
        )

    def _fit(self, points: Float[Tensor, "points point_dim"]) -> None:
        """On a GPU if this process has one; the points stay where they are."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._encoder.to(device).fit(points, self._sample.seed)
        except ParamsError:
            raise
        except ValueError as error:
            raise UserError(f"{self._encoder.label}: {error}") from error
        finally:
            self._encoder.cpu()

    def look(self) -> tuple[CodeUsage, Float[Tensor, "codes patch_dim"]]:
        """How often codes are used by some images, and what the patches of each look like."""
        wanted = math.ceil(PATCHES_PER_CODE * self._encoder.width / self._sample.tokens)
        pieces = list(pieces_of(self._split, min(self._sample.images, wanted)))
        self._passes.run(PatchesActor, self._encoder, pieces)
        means = PatchMeans(self._encoder.width, self._encoder.size // self._encoder.grid[0])
        for piece in pieces:
            found = read(PatchesActor.file(self._work, piece))
            means.counts += found["counts"]
            means.sums += found["sums"]
        return CodeUsage.of(means.counts), means.means()

    def _points(self, pieces: Sequence[SplitPiece]) -> Float[Tensor, "points point_dim"]:
        """The points of all pieces, in the order of rows; one more piece at a time is held."""
        points, count = torch.zeros(0, 0), 0
        for piece in pieces:
            found = read(PointsActor.file(self._work, piece))
            own = found["points"]
            if len(own) and not points.numel():
                points = torch.empty(self._sample.points, own.shape[1])
            points[count : count + len(own)] = own
            count += len(own)
            self.skipped += int(found["skipped"])
        if not count:
            raise UserError(f"{self._passes.data.root}: no image of {self._split.name} can be read")
        return points[:count]


def _shown(encoder: PatchEncoder) -> bool:
    """Whether it gives codes, of patches that have pixels of their own."""
    rows, columns = encoder.grid
    return encoder.kind == "codes" and rows == columns and encoder.size % rows == 0


def _refuse_too_few(encoder: PatchEncoder, data: DataSet, sample: PatchSample) -> None:
    if encoder.kind == "codes" and encoder.fit_points and sample.points < encoder.width:
        raise UserError(
            f"{data.root}: {sample.images} images have {sample.points} patches, fewer than the "
            f"{encoder.width} codes; ask for fewer codes, or take more images"
        )


def _settings(encoder: PatchEncoder, data: DataSet, split: Split, sample: PatchSample) -> _Settings:
    part = patch_encoders.name_of(encoder)
    return _Settings(
        images=data.fingerprint,
        split=split.name,
        rows=sample.images,
        seed=sample.seed,
        points=sample.points,
        part=part,
        revision=patch_encoders[part].revision,
        params=encoder.params.identified().model_dump(mode="json"),
        grid=encoder.grid,
    )
