"""What a token store brings to training: its views, and what its values look like."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from mimlab.data.manifest import DataSet
from mimlab.data.map_views import MapView
from mimlab.data.reader import read_rows
from mimlab.data.rendering import Canvas, Samples, ViewSpec, render_samples
from mimlab.data.stored_views import StoredView
from mimlab.errors import TrialError, UserError
from mimlab.spec.study import DataConfig, TrialSpec
from mimlab.tokens.store import TokenStore
from mimlab_objectives.targets.base import Target
from mimlab_objectives.targets.stored import StorableTarget

PICTURED_IMAGES = 64
"""By whose stored features boards choose their colours; as many as where they are computed."""


def opened_store(config: DataConfig, data: DataSet) -> TokenStore | None:
    """The store that a trial reads, if any. Raises TrialError where it no longer serves."""
    if config.tokens is None:
        return None
    try:
        return TokenStore.attached(config.tokens, data)
    except UserError as error:
        raise TrialError("failed", str(error)) from error


def view_spec(spec: TrialSpec, followed: MapView | None, store: TokenStore | None) -> ViewSpec:
    """The views that a trial trains on, and what is read besides: recorded ones where there is a
    store, with its seed, else its own."""
    return ViewSpec(
        size=spec.data.image_size,
        augment=spec.data.augment,
        seed=spec.seed if store is None else store.views.seed,
        maps=() if followed is None else (followed,),
        stored=None if store is None else stored_view(store),
    )


def stored_view(store: TokenStore) -> StoredView:
    """How the stream reads a store."""
    return StoredView(
        root=store.source("", 0).root,
        count=store.views.count,
        dtype=store.dtype,
        shape=store.shape,
    )


def learn_pictures(target: Target, store: TokenStore, spec: TrialSpec, data: DataSet) -> None:
    """Let the target of a trial on `data` know what the values of its store look like, where that
    is known."""
    if not isinstance(target, StorableTarget):
        return
    if store.kind == "codes":
        known = store.patches()
    else:
        view, split = view_spec(spec, None, store), spec.data.splits.train
        recorded = recorded_samples(data, split, view, PICTURED_IMAGES)
        known = recorded.stored.flatten(0, 1).float().numpy()
    if known is not None:
        device = next(target.buffers()).device
        target.learn_pictures(torch.from_numpy(known).to(device))


class RecordedSamples(NamedTuple):
    """Images in their first recorded view, with what lies beside them."""

    ids: Int64[Tensor, " images"]
    pixels: UInt8[Tensor, "images size size 3"]
    maps: dict[str, Tensor]
    """By the sidecar's name."""
    stored: Shaped[Tensor, "images tokens *width"]


def recorded_samples(data: DataSet, split: str, view: ViewSpec, count: int) -> RecordedSamples:
    """The first `count` images of a split, and what the store that `view` reads has of them. One
    that cannot be decoded stays black."""
    assert view.stored is not None
    chosen = data.split(split)
    rows = np.arange(min(count, chosen.num_rows))
    epochs = np.zeros_like(rows)
    table = read_rows(chosen, rows, (*view.sources(chosen), view.stored.source(epochs)))
    table = view.stored.chosen(table.append_column("epoch", [epochs]))
    samples = Samples.of({name: table[name].chunk(0) for name in table.column_names})
    stored = np.zeros((len(rows), *view.stored.shape), view.stored.read_as)
    out = dataclasses.replace(Canvas.blank(len(rows), view), stored=stored)
    render_samples(samples, range(len(rows)), view, out)
    return RecordedSamples(
        torch.from_numpy(samples.ids),
        torch.from_numpy(out.images),
        {name: torch.from_numpy(maps) for name, maps in out.maps.items()},
        torch.from_numpy(stored),
    )
