"""What kind of source a path is."""

from __future__ import annotations

from collections.abc import Mapping

from mimlab.data.pieces import Source
from mimlab.data.sources_folder import Listing, list_files, list_folder
from mimlab.data.sources_parquet import list_parquet
from mimlab.data.sources_webdataset import is_tar, list_webdataset
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place


def list_source(source: Place, splits: Mapping[str, str] | None = None) -> Source:
    """Find out what a source is and list it, without reading an image. Raises UserError."""
    try:
        return _list(source, splits)
    except RemoteError as error:
        raise UserError(str(error)) from error


def _list(source: Place, splits: Mapping[str, str] | None) -> Source:
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_file():
        return _list_file(source, splits)
    try:
        listing = list_files(source)
    except RemoteError:
        raise
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    tars = [path for path in listing.others if is_tar(path)]
    if listing.parquet:
        ignored = len(listing.others) + len(listing.images)
        files = [source / path for path in listing.parquet]
        return list_parquet(source, files, splits, ignored=ignored)
    if tars:
        _refuse_images(source, listing, tars[0])
        ignored = len(listing.others) - len(tars)
        return list_webdataset(source, [source / path for path in tars], splits, ignored=ignored)
    if not listing.images:
        raise UserError(f"{source}: no images; {_what_is_there(listing.others)}")
    return list_folder(source, listing, splits)


def _list_file(source: Place, splits: Mapping[str, str] | None) -> Source:
    if is_tar(source.name):
        return list_webdataset(source.parent, [source], splits)
    if source.suffix == ".parquet":
        return list_parquet(source.parent, [source], splits)
    raise UserError(
        f"{source}: expected a folder of images, or Parquet (.parquet), or a WebDataset tar "
        "(.tar, .tar.gz)"
    )


def _refuse_images(source: Place, listing: Listing, tar: str) -> None:
    if listing.images:
        raise UserError(
            f"{source}: image files ({listing.images[0][0]}) and tars ({tar}); "
            "expected one or the other, so put them into folders of their own"
        )


def _what_is_there(others: list[str]) -> str:
    if not others:
        return "it holds no files"
    return f"it holds {len(others)} other files, such as {others[0]}"
