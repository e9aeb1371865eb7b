"""A token store: codes or features of recorded views of images, with what made them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy
from jaxtyping import Float, Int64, Shaped

from mimlab.data.fingerprint import file_sha256
from mimlab.data.manifest import DataSet, SplitEntry
from mimlab.data.reader import ColumnSource
from mimlab.data.sidecar import (
    VIEW_COLUMN,
    Sidecar,
    SidecarManifest,
    StoredEncoder,
    StoredViews,
)
from mimlab.data.views import renderer
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, opened
from mimlab.tokens.names import ENCODER, PATCHES, WEIGHTS
from mimlab.tokens.packing import unpacked
from mimlab_objectives.tokenizers.base import EncodedKind


class StoredRows(NamedTuple):
    """A row group of a store."""

    split: str
    ids: Int64[np.ndarray, " rows"]
    views: list[Shaped[np.ndarray, "rows tokens *width"]]
    """Of each view, as they are stored."""


@dataclass(frozen=True)
class TokenStore:
    """A checked token store."""

    sidecar: Sidecar

    @classmethod
    def open(
        cls, path: str | PathLike[str] | RemotePath, data: DataSet | None, *, verify: bool = False
    ) -> TokenStore:
        """Hold a store against the data set that it is opened for, its files and its encoder.

        None as the data set: only to look at what is stored.

        Always checked: images and shards as by `Sidecar.open`, and that the encoder beside them is
        the one that made them. With `verify` everything is read: hashes, fingerprint, vocabulary.
        Raises UserError, which names both where they do not belong together.
        """
        store = cls(Sidecar.open(path, data, verify=verify))
        _refuse_maps(store.sidecar)
        try:
            _check_encoder(store)
            if verify:
                _check_values(store)
        except RemoteError as error:
            raise UserError(str(error)) from error
        return store

    @classmethod
    def attached(cls, path: str | PathLike[str] | RemotePath, data: DataSet) -> TokenStore:
        """Open a store to train from it: also its pixels must be those that are rendered here.

        Raises UserError as `open`, and where the renderer has another version.
        """
        store, here = cls.open(path, data), renderer()
        if store.views.renderer != here:
            raise UserError(
                f"{store.root}: was encoded from the pixels of {store.views.renderer}, and here "
                f"they are those of {here}; install those versions, or encode it again"
            )
        return store

    @property
    def root(self) -> Place:
        return self.sidecar.root

    @property
    def manifest(self) -> SidecarManifest:
        return self.sidecar.manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def kind(self) -> EncodedKind:
        return cast("EncodedKind", self.manifest.kind)

    @property
    def views(self) -> StoredViews:
        assert self.manifest.views is not None
        return self.manifest.views

    @property
    def encoder(self) -> StoredEncoder:
        assert self.manifest.encoder is not None
        return self.manifest.encoder

    @property
    def dtype(self) -> str:
        """Of a value as it is stored."""
        return self.manifest.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one view of one image: (tokens,) codes, or (tokens, width) features."""
        assert self.manifest.shape is not None
        return self.manifest.shape

    @property
    def splits(self) -> dict[str, SplitEntry]:
        """Those that it has, by name: not always all of the data set's."""
        return {split.name: split for split in self.manifest.splits}

    def source(self, name: str, view: int) -> ColumnSource:
        """The column of one view, called `<name>.view_<view>` beside those of the images."""
        root = self.root.resolve() if isinstance(self.root, Path) else self.root
        return ColumnSource(str(root), ("id", VIEW_COLUMN.format(view)), sidecar=name)

    def patches(self) -> Float[np.ndarray, "codes patch_dim"] | None:
        """The mean normalised patch of each code, in pixels of the encoder; None if unknown."""
        file = self.root / WEIGHTS
        if isinstance(file, RemotePath):
            return safetensors.numpy.load(file.read_bytes()).get(PATCHES)
        with safetensors.safe_open(file, "np") as weights:
            return weights.get_tensor(PATCHES) if PATCHES in weights.keys() else None  # noqa: SIM118

    def rows(self) -> Iterator[StoredRows]:
        """Everything that is stored, a row group at a time.

        Raises UserError where it is not of the type and shape that the manifest says.
        """
        for split in self.manifest.splits:
            for shard in split.shards:
                yield from self._shard(split.name, self.root / shard.file)

    def _shard(self, split: str, path: Place) -> Iterator[StoredRows]:
        ids, *columns = self.manifest.columns
        with opened(path) as stream, pq.ParquetFile(stream) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[ids, *columns])
                try:
                    views = [unpacked(table[name], self.dtype, self.shape) for name in columns]
                except ValueError as error:
                    raise UserError(f"{path}: {error}; encode it again") from error
                yield StoredRows(split, table[ids].to_numpy(), views)


def encoder_sha256(folder: Place) -> str:
    """Hash over the files of a saved encoder. Raises FileNotFoundError."""
    hashes = [file_sha256(folder / name) for name in (ENCODER, WEIGHTS)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _refuse_maps(sidecar: Sidecar) -> None:
    found = sidecar.manifest
    if found.views is None or found.encoder is None or found.shape is None:
        raise UserError(
            f"{sidecar.root}: a sidecar of kind {found.kind}, not a token store; "
            "make one with `mimlab tokens encode`"
        )


def _check_encoder(store: TokenStore) -> None:
    try:
        found = encoder_sha256(store.root)
    except FileNotFoundError as error:
        raise UserError(
            f"{store.root}: has no {ENCODER} and {WEIGHTS}, which say what made it; encode it again"
        ) from error
    if found != store.manifest.maker.sha256:
        raise UserError(
            f"{store.root}: its {ENCODER} or {WEIGHTS} is not the one that made it "
            "(sha256 differs): another codebook under old codes; encode it again"
        )


def _check_values(store: TokenStore) -> None:
    """Codes below the vocabulary, features that are numbers."""
    for rows in store.rows():
        for view, values in enumerate(rows.views):
            if store.kind == "features":
                wrong = ~np.isfinite(values).all(axis=(1, 2))
                what = "features that are no numbers"
            else:
                wrong = ((values < 0) | (values >= store.encoder.width)).any(axis=1)
                what = f"codes outside of the vocabulary of {store.encoder.width}"
            if wrong.any():
                first = int(rows.ids[wrong.argmax()])
                raise UserError(
                    f"{store.root}: view {view} of image {first} has {what}; encode it again"
                )
