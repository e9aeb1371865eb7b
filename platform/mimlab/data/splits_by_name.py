"""Which split a file of samples belongs to, by pattern or by its name.

The names are those that Hugging Face looks for, set apart by anything that is no letter:
huggingface.co/docs/hub/datasets-file-names-and-splits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from mimlab.data.pieces import SPLIT_NAMES
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, below

_SHARDED = re.compile(r"([\w.]+?)-\d{5}-of-\d{5}")
_NAMED = re.compile(rf"(?<![A-Za-z])({'|'.join(SPLIT_NAMES)})(?![A-Za-z])")


def files_of_splits(
    root: Place, files: Sequence[Place], splits: Mapping[str, str] | None
) -> dict[str, list[Place]]:
    """The files of each split; `files` lie below `root`.

    `splits` maps the name of a split to a pattern of paths below `root`, or a folder; without it
    names of files and folders decide, and where none is named like a split, all are `train`. Raises
    UserError.
    """
    return _by_pattern(root, files, splits) if splits else _by_name(root, files)


def _by_pattern(
    root: Place, files: Sequence[Place], splits: Mapping[str, str]
) -> dict[str, list[Place]]:
    by_split = {}
    for split, pattern in splits.items():
        by_split[split] = [f for f in files if _matches(below(root, f), pattern)]
        if not by_split[split]:
            raise UserError(
                f"{root}: no {_kind(files)} file matches {pattern!r}, given for split {split}"
            )
    return by_split


def _matches(path: PurePath, pattern: str) -> bool:
    """Whether a path fits a pattern or lies in the folder of that name."""
    return path.match(pattern) or path.is_relative_to(pattern)


def _kind(files: Sequence[Place]) -> str:
    return "Parquet" if files[0].suffix == ".parquet" else "tar"


def _by_name(root: Place, files: Sequence[Place]) -> dict[str, list[Place]]:
    by_split: dict[str | None, list[Place]] = defaultdict(list)
    for file in files:
        by_split[_split_of(below(root, file))].append(file)
    unknown = by_split.pop(None, [])
    if by_split and unknown:
        raise UserError(
            f"{root}: cannot tell the split of {below(root, unknown[0])} from its name; "
            "say it with --split NAME=PATTERN for every split"
        )
    for split, members in by_split.items():
        folders = sorted({str(below(root, file).parent) for file in members})
        if len(folders) > 1:
            raise UserError(
                f"{root}: files of split {split} lie in {', '.join(folders)}; import one of these "
                "folders, or say the splits with --split NAME=PATTERN"
            )
    return {split: members for split, members in by_split.items() if split} or {"train": unknown}


def _split_of(path: PurePath) -> str | None:
    if found := _SHARDED.match(path.stem) or _NAMED.search(path.stem):
        return found[1]
    return next((part for part in reversed(path.parts[:-1]) if part in SPLIT_NAMES), None)
