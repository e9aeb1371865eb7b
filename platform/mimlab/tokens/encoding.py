"""Encoding a data set into a token store, with Ray Data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import ray

from mimlab.data.manifest import DataSet
from mimlab.data.ray_data import actor_results, ray_running
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, place_of
from mimlab.tokens.finishing import finish
from mimlab.tokens.plan import PIECE_ROWS, EncodingPlan, ViewsAsked
from mimlab.tokens.store import TokenStore, encoder_sha256
from mimlab.tokens.unfinished import Unfinished, unfinished
from mimlab.tokens.worker import Job, PieceWorker
from mimlab_objectives.tokenizers.base import PatchEncoder

Load = Callable[[str], PatchEncoder]
"""Gives the encoder that a folder, or a URI, holds; each process calls it for itself."""

Progress = Callable[[int, int, int], None]
"""Takes (images done, images in all, images that an earlier try had done)."""


@dataclass(frozen=True)
class EncodingResources:
    """What encoding takes of the cluster; changes no store."""

    workers: int | None = None
    """Actors; None: one for each GPU, or one where there is none."""
    cpus: int | None = None
    """Of each, for decoding and, without a GPU, for encoding; None: its share of all."""
    batch: int | None = None
    """Images encoded at once; None: found out on a GPU."""
    piece_rows: int = PIECE_ROWS
    """Images that a kill may lose."""


def encode_images(
    saved: str | PathLike[str] | RemotePath,
    images: str | PathLike[str] | RemotePath,
    out: str | PathLike[str] | RemotePath,
    *,
    load: Load,
    asked: ViewsAsked,
    splits: Sequence[str] = ("train",),
    resources: EncodingResources | None = None,
    on_progress: Progress | None = None,
) -> TokenStore:
    """Encode recorded views of splits of a data set by the encoder that the folder `saved` holds.

    What was done stays in `out` until its manifest, written last, makes it a store: after a kill
    the same call computes only what is missing. Runs on the Ray that the caller has started, whose
    nodes then must see all three places, or on a local one. Raises UserError.
    """
    source, data, target = _absolute(place_of(saved)), DataSet.open(images), place_of(out)
    if isinstance(target, Path):
        target = target.absolute()
    plan = _plan(source, load, data, splits, asked)
    resources = resources or EncodingResources()
    with unfinished(target, plan, plan.pieces(data, resources.piece_rows)) as store:
        _encode(store, partial(load, str(source)), data, resources, on_progress)
        finish(store, data, source)
    store.clear()
    return TokenStore.open(target, data)


def _plan(
    source: Place, load: Load, data: DataSet, splits: Sequence[str], asked: ViewsAsked
) -> EncodingPlan:
    try:
        made_by = encoder_sha256(source)
    except FileNotFoundError as error:
        raise UserError(f"{source}: no saved encoder; make one with `mimlab tokens fit`") from error
    except RemoteError as error:
        raise UserError(str(error)) from error
    return EncodingPlan.of(load(str(source)), made_by, data, splits, asked)


def _encode(
    store: Unfinished,
    load: Callable[[], PatchEncoder],
    data: DataSet,
    resources: EncodingResources,
    on_progress: Progress | None,
) -> None:
    """Encode the pieces that are missing."""
    done = store.done()
    before = sum(piece.rows for piece in store.pieces if piece.name in done)
    total, count = sum(piece.rows for piece in store.pieces), before
    report = on_progress or (lambda *_: None)
    report(count, total, before)
    items = [{"piece": p.model_dump_json()} for p in store.pieces if p.name not in done]
    if not items:
        return
    with ray_running():
        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = min(resources.workers or max(1, gpus), len(items))
        cpus = resources.cpus or _share(workers)
        job = Job(
            plan=store.plan,
            images=str(_absolute(data.root)),
            out=str(store.out),
            work=str(store.work),
            threads=cpus,
            batch=resources.batch,
        )
        results = actor_results(
            PieceWorker,
            (job, load),
            items,
            workers=workers,
            cpus=cpus,
            gpus=1 if gpus else 0,
        )
        with results as rows:
            for row in rows:
                if row["failure"]:
                    raise UserError(row["failure"])
                count += row["rows"]
                report(count, total, before)


def _share(workers: int) -> int:
    """CPUs of one of so many workers."""
    return max(1, math.floor(ray.cluster_resources().get("CPU", 1) / workers))


def _absolute(place: Place) -> Place:
    return place.resolve() if isinstance(place, Path) else place
