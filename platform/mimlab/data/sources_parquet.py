"""Hugging Face Parquet: `image` or `img`, `label`, splits by file name, class names in the schema.

Layout and metadata as written by `datasets` (`Dataset.to_parquet`, `push_to_hub`):
huggingface.co/docs/hub/datasets-file-names-and-splits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mimlab.data.pieces import RowGroupPiece, Source, SourceSplit, classes_file, split_order
from mimlab.data.splits_by_name import files_of_splits
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place, below, opened

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def list_parquet(
    root: Place,
    files: Sequence[Place],
    splits: Mapping[str, str] | None = None,
    *,
    ignored: int = 0,
) -> Source:
    """List the row groups of `files`, which lie below `root`. Reads footers only.

    `splits` maps the name of a split to a pattern of paths below `root`; without it names of files
    and folders decide. Raises UserError.
    """
    by_split = files_of_splits(root, files, splits)
    found, pieces, names = [], [], {}
    for number, split in enumerate(sorted(by_split, key=split_order)):
        rows = num_bytes = 0
        for file in by_split[split]:
            footer, schema = _footer(file)
            image, label = _image_column(file, schema), _label_column(file, schema)
            _note_classes(names, file, schema, label)
            for group in range(footer.num_row_groups):
                size = footer.row_group(group)
                piece = RowGroupPiece(
                    split=number,
                    first_row=rows,
                    rows=size.num_rows,
                    root=str(root),
                    file=str(below(root, file)),
                    row_group=group,
                    image=image,
                    label=label,
                )
                pieces.append(piece)
                rows += size.num_rows
                num_bytes += _column_bytes(size, image)
        found.append(SourceSplit(split, rows, num_bytes))
    classes = next(iter(names), None)
    return Source(found, pieces, list(classes) if classes else classes_file(root), ignored)


def _footer(file: Place) -> tuple[pq.FileMetaData, pa.Schema]:
    try:
        with opened(file) as stream:
            footer = pq.read_metadata(stream)
    except RemoteError as error:
        raise UserError(str(error)) from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file}: not a whole Parquet file ({reason}); fetch it again") from error
    return footer, footer.schema.to_arrow_schema()


def _image_column(file: Place, schema: pa.Schema) -> str:
    for name in IMAGE_COLUMNS:
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return name
    raise UserError(
        f"{file}: no column of encoded images; expected {' or '.join(IMAGE_COLUMNS)} of type "
        f"binary or struct<bytes, path>, found {_listing(schema)}"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        position = kind.get_field_index("bytes")
        return position >= 0 and _holds_bytes(kind.field(position).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_column(file: Place, schema: pa.Schema) -> str | None:
    name = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if name is not None and not pa.types.is_integer(schema.field(name).type):
        raise UserError(
            f"{file}: column {name!r} is {schema.field(name).type}; expected whole class numbers"
        )
    return name


def _listing(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "no columns"


def _note_classes(
    names: dict[tuple[str, ...], Place], file: Place, schema: pa.Schema, label: str | None
) -> None:
    """Remember the class names that a file states; all files must state the same."""
    stated = _stated_classes(schema, label)
    if stated:
        names.setdefault(stated, file)
    if len(names) > 1:
        raise UserError(
            f"{file}: its class names differ from those of {next(iter(names.values()))}"
        )


def _stated_classes(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    content = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(content or b"{}").get("info", {}).get("features", {})
        return tuple(str(name) for name in features.get(label, {}).get("names") or ())
    except (ValueError, AttributeError, TypeError):  # someone else's metadata: optional
        return ()


def _column_bytes(group: pq.RowGroupMetaData, name: str) -> int:
    chunks = (group.column(position) for position in range(group.num_columns))
    return sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] == name)
