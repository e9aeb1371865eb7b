"""A pasted study reads below the configured roots only, and reaches no host but theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mimlab.errors import UserError
from mimlab.spec.errors import Problem, refuse
from mimlab.spec.load import LoadedStudy
from mimlab.spec.paths import BUILT_IN_IMAGES, RANDOM_WEIGHTS, TIMM_WEIGHTS
from mimlab.spec.positions import Keys, keys_of, parse
from mimlab.storage.remote_path import Place, RemotePath, below, is_uri, place_of

BUILT_IN = BUILT_IN_IMAGES | {TIMM_WEIGHTS, RANDOM_WEIGHTS}
"""Names that stand where a path could."""

_IN_STORAGE = re.compile(r"trial:[A-Za-z0-9_-]+(@\d{1,12})?|sha256:[0-9a-f]{64}")
"""What `backbone.init` names of the storage itself."""
_KEYS = frozenset({"images", "tokens", "init", "weights", "storage"})
"""Keys whose text is a path even where it does not look like one."""
_SIDECARS = "sidecars"
_TRACKING: Keys = ("tracking", "uri")
_WEB = ("http://", "https://")
_NOT_RESOLVED = {"presets", "sweep", "storage", "tracking"}
_PROSE: frozenset[Keys] = frozenset({("study",), ("question",)})


@dataclass(frozen=True)
class Roots:
    """Folders, URIs and MLflow servers that studies may name."""

    places: tuple[Place, ...] = ()
    servers: tuple[str, ...] = ()
    """Of MLflow: `http(s)://host:port`."""

    @classmethod
    def of(cls, texts: Sequence[str], storage: Place) -> Roots:
        """From what `--root` was given; the storage is one by itself. Raises UserError."""
        servers = tuple(text.rstrip("/") for text in texts if text.startswith(_WEB))
        places = [place_of(text) for text in texts if not text.startswith(_WEB)]
        for place in places:
            if isinstance(place, Path) and not place.is_dir():
                raise UserError(f"--root {place}: there is no such folder")
        return cls((storage, *places), servers)

    def check(self, loaded: LoadedStudy) -> None:
        """Raises UserError with a line for each place of a study that lies elsewhere.

        Looked at are the study as it resolves, and every value that an axis or a preset may put in
        the place of one.
        """
        written = _strings(loaded.own, ())
        # Storage and tracking are null-for-default, and only count as written.
        study = loaded.study.model_dump(mode="json", exclude=_NOT_RESOLVED)
        decided = ((keys, text) for keys, text in _strings(study, ()) if Path(text).is_absolute())
        problems = [
            Problem(keys, message)
            for keys, text in (*written, *decided)
            if (message := self._refusal(keys, text)) is not None
        ]
        refuse(problems, loaded.where)

    def check_changes(self, changes: Sequence[str]) -> None:
        """Raises UserError for `path=value` changes of a trial that name what lies elsewhere."""
        for change in changes:
            path, _, text = change.partition("=")
            value, _ = parse(text, f"--set {change}")
            problems = (
                Problem(keys, message)
                for keys, found in _strings(value, keys_of(path.strip()))
                if (message := self._refusal(keys, found)) is not None
            )
            refuse(problems, lambda _, change=change: f"--set {change}")

    def holds(self, place: Place) -> bool:
        """Whether a place lies in a root, `..` and links resolved."""
        if isinstance(place, Path):
            found = Path(os.path.realpath(place))
            return any(
                found.is_relative_to(os.path.realpath(root))
                for root in self.places
                if isinstance(root, Path)
            )
        return any(isinstance(root, RemotePath) and _within(root, place) for root in self.places)

    def _refusal(self, keys: Keys, text: str) -> str | None:
        if keys in _PROSE:
            return None
        if _ends_in(keys, _TRACKING):
            return self._tracking_refusal(text)
        if not _is_address(keys, text) or text in BUILT_IN or _IN_STORAGE.fullmatch(text):
            return None
        if "\0" in text:
            return "a path holds no NUL"
        try:
            place = place_of(text)
        except UserError as error:
            return str(error)
        if isinstance(place, Path) and not place.is_absolute():
            return f"{text}: a pasted study has no folder; write the path from / on"
        return None if self.holds(place) else f"{text} lies outside {self._known()}"

    def _tracking_refusal(self, uri: str) -> str | None:
        if uri.startswith(_WEB):
            given = urlsplit(uri)
            same = any(
                (root.scheme, root.netloc) == (given.scheme, given.netloc)
                for root in map(urlsplit, self.servers)
            )
            return None if same else f"{uri} is none of the servers that studies may log to"
        file = uri.removeprefix("sqlite:///")
        if file == uri or not Path(file).is_absolute() or "?" in file or not self.holds(Path(file)):
            return f"{uri}: a pasted study logs beside the results (null) or to a known server"
        return None

    def _known(self) -> str:
        return "the folders that studies may name: " + ", ".join(str(root) for root in self.places)


def _strings(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Every text in a study, and where it stands."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, (*keys, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, (*keys, number))


def _names(keys: Keys) -> list[str]:
    """The mapping keys, the path of an axis taken apart."""
    parts = (part for key in keys if isinstance(key, str) for part in keys_of(key))
    return [part for part in parts if isinstance(part, str)]


def _ends_in(keys: Keys, end: Keys) -> bool:
    return tuple(_names(keys)[-len(end) :]) == end


def _is_address(keys: Keys, text: str) -> bool:
    names = _names(keys)
    known = bool(names) and (names[-1] in _KEYS or _SIDECARS in names)
    looks = text.startswith(("/", "~", "\\")) or is_uri(text) or ".." in re.split(r"[/\\]", text)
    return known or looks


def _within(root: RemotePath, place: RemotePath) -> bool:
    same = (root.scheme, root.authority, root.query) == (place.scheme, place.authority, place.query)
    try:
        below(root, place)
    except ValueError:
        return False
    return same
