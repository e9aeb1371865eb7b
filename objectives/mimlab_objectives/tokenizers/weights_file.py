"""Published weights in a local file: read as data only, and held against an architecture."""

from __future__ import annotations

import difflib
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mimlab_objectives.registry import ParamsError

FIELD = "weights"
"""What an error names: the parameter that says where the file is."""

_ENTRIES = ("model", "state_dict")
"""Under which a training program's checkpoint has its weights."""
_ZIP_MAGIC = b"PK"


def weights_for(
    own: Mapping[str, Tensor], path: Path, *, ignored: tuple[str, ...], values: bool
) -> dict[str, Tensor]:
    """The tensors of a file that an architecture needs, by name, as copies in float32.

    `own` is the architecture's state_dict, on any device; names in the file that start with one of
    `ignored` are another part's, such as a decoder's. The file is safetensors or what `torch.save`
    wrote; of the second, tensors alone are read, no code is run. Without `values` only names and
    shapes are looked at, and nothing is given. Raises ParamsError for a file that cannot be read,
    and for names or shapes that are not the architecture's.
    """
    given = {k: v for k, v in _tensors(path, values).items() if not k.startswith(ignored)}
    _check_names(own, given, path)
    for name, tensor in own.items():
        found = given[name]
        if found.shape != tensor.shape:
            raise _unusable(f"{path}: {name} is {_text(found)}, not {_text(tensor)}")
        if not found.is_floating_point():
            raise _unusable(f"{path}: {name} holds {found.dtype} numbers, which are no weights")
    return {name: given[name].to(torch.float32, copy=True) for name in own} if values else {}


def _check_names(own: Iterable[str], given: Iterable[str], path: Path) -> None:
    missing = sorted(set(own) - set(given))
    extra = sorted(set(given) - set(own))
    if missing:
        near = _nearest(missing[0], extra)
        raise _unusable(f"{path} lacks {_listed(missing)}" + (f"; it has {near}" if near else ""))
    if extra:
        near = _nearest(extra[0], own)
        raise _unusable(
            f"{path} holds {_listed(extra)}, which this tokenizer has not"
            + (f"; the nearest of its own is {near}" if near else "")
        )


def _tensors(path: Path, values: bool) -> dict[str, Tensor]:
    if not path.is_file():
        raise _unusable(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return _from_safetensors(path, values)
        content = _from_torch(path)
    except ParamsError:  # a ValueError, and clear already
        raise
    except (EOFError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise _unusable(f"{path} cannot be read ({_first_line(error)}); fetch it again") from error
    for entry in _ENTRIES:
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise _unusable(f"{path} holds no state_dict: names, and a tensor for each")
    return content


def _from_safetensors(path: Path, values: bool) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        if values:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _from_torch(path: Path) -> object:
    mapped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC and not mapped:
            raise EOFError("it is cut short")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _unusable(
            f"{path} is damaged, or holds more than tensors and would run code when it is read; "
            "where you trust it, load it with the program that it belongs to, and save its "
            "`state_dict()` by `torch.save` or as safetensors"
        ) from error


def _nearest(name: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def _listed(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _text(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _unusable(message: str) -> ParamsError:
    return ParamsError(FIELD, message)
