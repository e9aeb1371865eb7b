"""A tokenizer from its name and parameters, as they are written in YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mimlab.errors import UserError
from mimlab.spec.errors import nearest, problems_of, refuse
from mimlab.spec.parts import register_parts
from mimlab.spec.paths import absolute
from mimlab.spec.positions import Keys, parse
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.base import PatchEncoder, patch_encoders

OPTION = "--encoder"
_EXAMPLE = "'{name: kmeans, teacher: {name: resnet50_clip, weights: timm}, vocabulary: 512}'"

Place = Callable[[Keys], str]
"""Where a parameter was written."""


def asked_encoder(text: str, grid: Grid) -> PatchEncoder:
    """The tokenizer that `--encoder` asks for: a YAML mapping, a name alone, or a YAML file.

    Paths in it are relative to the file, or to the current folder. Raises UserError.
    """
    folder, file = Path.cwd(), OPTION
    if text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        folder, file = path.absolute().parent, str(path)
        text = _content(path)
    root, source = parse(text, file)
    if isinstance(root, str):
        root = {"name": root}
    if not isinstance(root, dict) or not isinstance(root.get("name"), str):
        raise UserError(f"{file}: expected a tokenizer by its name, such as {_EXAMPLE}")
    where = (lambda _: OPTION) if file == OPTION else source.where
    params = {key: value for key, value in root.items() if key != "name"}
    return build_encoder(
        root["name"], params, grid, where=where, resolve=lambda path: absolute(path, folder)
    )


def build_encoder(
    name: str,
    params: Mapping[str, Any],
    grid: Grid,
    *,
    where: Place,
    resolve: Callable[[str], str] | None = None,
) -> PatchEncoder:
    """A tokenizer that has learned nothing yet; `resolve` makes the paths in it absolute.

    Raises UserError for a name or a parameter that is none, at the place that `where` gives.
    """
    register_parts()
    if name not in patch_encoders:
        raise UserError(
            f"{where(('name',))}: no tokenizer is called {name!r}; "
            f"{nearest(name, patch_encoders)}There are {', '.join(patch_encoders) or 'none'}"
        )
    entry = patch_encoders[name]
    try:
        valid = entry.params.model_validate(params)
        return entry.part(valid.resolved(resolve) if resolve else valid, grid)
    except ValidationError as error:
        refuse(problems_of(error, params, entry.params), where)
        raise
    except ParamsError as error:
        keys = tuple(error.field.split("."))
        raise UserError(f"{where(keys)}: {error.field}: {error}") from error


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{OPTION} {path}: cannot be read ({error})") from error
