"""A sidecar on disk: per-sample data in files aligned with the shards of one data set.

<root>/sidecar.json                   written last: a folder without it is no sidecar
<root>/train-00000-of-00012.parquet   id, map: files, row groups, rows and order of the shards

`map` is a grey PNG, null where the image has none. Of kind `map` it has 8 or 16 bits and stands for
values from 0 to 1; of kind `labels_map` it has 8 bits, each pixel a class, 255 being none.

A token store is a sidecar of kind `codes` or `features`. In the place of `map` its rows have a
column for each view, `view_0`, `view_1` …: the bytes of that view's codes or features,
little-endian, rows of the grid one after the other. Beside them lies what made them:

<root>/encoder.json, encoder.safetensors   the tokenizer, and each code's mean patch (`patches`)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from mimlab.data.augment import AugmentConfig
from mimlab.data.fingerprint import combined, file_sha256, split_fingerprint, stored_digests
from mimlab.data.manifest import DataSet, SplitEntry
from mimlab.data.map_pixels import map_digest
from mimlab.data.reader import ColumnSource
from mimlab.data.shard_files import Entry, check_shards
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, RemotePath, opened, place_of

FORMAT = "mimlab-sidecar"
VERSION = 1
SIDECAR = "sidecar.json"

MapKind = Literal["map", "labels_map"]
Kind = MapKind | Literal["codes", "features"]

MAP_COLUMNS = ("id", "map")
VIEW_COLUMN = "view_{}"
"""Name of a view's column in a token store."""


class Maker(Entry):
    """What made the values."""

    text: str
    """In words, for people."""
    sha256: str
    """Hash over the contents of the files that were imported, in the order of ids; of a token
    store, over those of the encoder."""


class StoredViews(Entry):
    """Which views of the images were encoded: a function of the seed, an id and a view's number."""

    seed: int
    count: int
    """Views of an image; an epoch uses number epoch mod count."""
    image_size: int
    """Side in pixels of the views that train on them."""
    augment: AugmentConfig
    """Their crop and flip."""
    renderer: str
    """What decoded and scaled: versions of this code and of its libraries."""


class StoredEncoder(Entry):
    """The tokenizer or teacher that encoded them; `encoder.json` says how to build it."""

    label: str
    """In short, for people."""
    part: str
    """Its registered name."""
    weights_sha256: str
    """`PatchEncoder.weights_sha256`."""
    width: int
    """How many codes there are, or the length of a feature."""
    size: int
    """Side in pixels of the images that it read, rendered from the same box."""
    grid: tuple[int, int]
    """Rows and columns of patches."""


class SidecarManifest(Entry):
    """What `sidecar.json` says."""

    format: Literal["mimlab-sidecar"] = FORMAT
    version: Literal[1] = VERSION
    fingerprint: str
    """Hash over split names and every row's id and pixels, independent of files and encoding; of a
    token store, over ids and the bytes of all views, and over `views` and `encoder`."""
    images: str
    """Fingerprint of the data set that it belongs to."""
    kind: Kind
    dtype: Literal["uint8", "uint16", "int32", "float16", "float32"]
    """Of a value as it is read."""
    shape: tuple[int, ...] | None
    """Of a sample: (height, width) where all maps share it; null: each has its own. Of a view of a
    token store: (tokens,) or (tokens, length)."""
    num_classes: int | None
    """Highest label + 1; null where there are no labels."""
    maker: Maker
    missing: int
    """Images without a map; of a token store, those that could not be read: all zeros."""
    splits: list[SplitEntry]
    views: StoredViews | None = None
    """Of a token store."""
    encoder: StoredEncoder | None = None
    """Of a token store."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of its files, `id` first."""
        if self.views is None:
            return MAP_COLUMNS
        return ("id", *(VIEW_COLUMN.format(view) for view in range(self.views.count)))

    @property
    def remedy(self) -> str:
        """What mends it."""
        return "import it again" if self.views is None else "encode it again"


@dataclass(frozen=True)
class Sidecar:
    """A checked sidecar."""

    root: Place
    manifest: SidecarManifest

    @classmethod
    def open(
        cls, path: str | PathLike[str] | RemotePath, data: DataSet | None, *, verify: bool = False
    ) -> Sidecar:
        """Read the manifest and hold it against the data set that it is opened for, if there is
        one, and its files.

        With `verify` also each file's hash and the fingerprint, which reads everything. Raises
        UserError, which names both where they do not belong together.
        """
        root = place_of(path)
        try:
            sidecar = cls(root, read_manifest(root))
            if data is not None:
                _check_images(sidecar, data)
            shards = [shard for split in sidecar.manifest.splits for shard in split.shards]
            check_shards(root / SIDECAR, shards, sidecar.manifest.remedy)
            if verify:
                _check_content(sidecar)
        except RemoteError as error:
            raise UserError(str(error)) from error
        return sidecar

    @property
    def kind(self) -> Kind:
        return self.manifest.kind

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def source(self, name: str) -> ColumnSource:
        """The column of maps, called `<name>.map` beside those of the images."""
        root = self.root.resolve() if isinstance(self.root, Path) else self.root
        return ColumnSource(str(root), MAP_COLUMNS, sidecar=name)


def open_sidecars(places: Mapping[str, str], data: DataSet) -> dict[str, Sidecar]:
    """The sidecars that a study names, each opened for the data set. Raises UserError."""
    return {name: Sidecar.open(place, data) for name, place in places.items()}


def training_fingerprints(places: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of what training may read of named sidecars; labels of pixels serve probes only.

    Reads the manifests alone. Raises UserError.
    """
    manifests = {name: read_manifest(place_of(place)) for name, place in places.items()}
    return {name: m.fingerprint for name, m in manifests.items() if m.kind != "labels_map"}


def label_fingerprints(places: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of named sidecars of labels, from their manifests.

    Raises UserError, also where one holds no labels.
    """
    manifests = {name: read_manifest(place_of(place)) for name, place in places.items()}
    for name, manifest in manifests.items():
        if manifest.kind != "labels_map":
            raise UserError(
                f"{places[name]}: holds values, not labels; import it with `--kind labels`"
            )
    return {name: manifest.fingerprint for name, manifest in manifests.items()}


def read_manifest(root: Place) -> SidecarManifest:
    """What `sidecar.json` says, held against nothing. Raises UserError."""
    file = root / SIDECAR
    if not file.is_file():
        raise UserError(
            f"{root}: no {SIDECAR}, so this is not a sidecar; "
            "make one with `mimlab data maps FOLDER --for DATASET --to SIDECAR`"
        )
    try:
        content = json.loads(file.read_bytes())
    except RemoteError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); import it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: not the manifest of a mimlab sidecar (no format {FORMAT!r})")
    if content.get("version") != VERSION:
        raise UserError(
            f"{file}: format version {content.get('version')!r}, but this mimlab reads "
            f"version {VERSION}; import it again"
        )
    try:
        return SidecarManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {where}: {first['msg']}; import it again") from error


def _check_images(sidecar: Sidecar, data: DataSet) -> None:
    made_for = sidecar.manifest.images
    if made_for != data.fingerprint:
        raise UserError(
            f"{sidecar.root}: made for the images with fingerprint {made_for[:16]}…, but that of "
            f"{data.root} is {data.fingerprint[:16]}…; name the data set that it was made for, or "
            f"{_made_again(sidecar, data)}"
        )
    ours, theirs = ([_cut(s) for s in m.splits] for m in (sidecar.manifest, data.manifest))
    # A token store has the splits that somebody trains on.
    partial = sidecar.manifest.views is not None and set(dict(ours)) <= set(dict(theirs))
    if ours != [cut for cut in theirs if not partial or cut[0] in dict(ours)]:
        raise UserError(
            f"{sidecar.root}: its files or row groups are not those of {data.root}, which holds "
            f"the same images in other shards; {_made_again(sidecar, data)}"
        )


def _made_again(sidecar: Sidecar, data: DataSet) -> str:
    if sidecar.manifest.views is None:
        return f"import the maps again with `--for {data.root}`"
    return f"encode them again with `mimlab tokens encode … --images {data.root}`"


def _cut(split: SplitEntry) -> tuple[str, list[tuple[str, list[int]]]]:
    return split.name, [(shard.file, shard.row_groups) for shard in split.shards]


def _check_content(sidecar: Sidecar) -> None:
    manifest = sidecar.manifest
    for split in manifest.splits:
        for shard in split.shards:
            path = sidecar.root / shard.file
            if file_sha256(path) != shard.sha256:
                raise UserError(
                    f"{path}: its content is not what {SIDECAR} says (sha256 differs): "
                    f"damaged or changed; {manifest.remedy}"
                )
        found = split_fingerprint(_digests(sidecar, split))
        if found != split.fingerprint:
            raise UserError(
                f"{sidecar.root}: split {split.name}: its rows give fingerprint {found}"
            )
    if fingerprint_of(manifest.splits, manifest.views, manifest.encoder) != sidecar.fingerprint:
        raise UserError(f"{sidecar.root}: the splits do not give the fingerprint of {SIDECAR}")


def fingerprint_of(
    splits: Sequence[SplitEntry],
    views: StoredViews | None = None,
    encoder: StoredEncoder | None = None,
) -> str:
    """The fingerprint of a sidecar with these splits; a token store also has views and encoder."""
    rows = combined((split.name, split.rows, split.fingerprint) for split in splits)
    if views is None or encoder is None:
        return rows
    lines = (rows, views.model_dump_json(), encoder.model_dump_json())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _digests(sidecar: Sidecar, split: SplitEntry) -> Iterator[bytes]:
    maps = sidecar.manifest.views is None
    for shard in split.shards:
        with opened(sidecar.root / shard.file) as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(64, columns=list(sidecar.manifest.columns)):
                if not maps:
                    yield stored_digests(pa.Table.from_batches([batch]))
                    continue
                for row in batch.to_pylist():
                    yield map_digest(row["id"], row["map"])
