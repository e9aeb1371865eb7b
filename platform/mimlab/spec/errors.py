"""What is wrong with a study, in words: every problem at once, each with its line and a remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mimlab.errors import UserError
from mimlab.spec.positions import Keys, dotted
from mimlab.spec.shape import Model, annotation_at, child, fields, lookup, model_of, names
from mimlab_objectives.registry import ParamsError

Kind = Literal["value", "missing", "unknown"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, at one place of a study."""

    keys: Keys
    message: str
    kind: Kind = "value"
    """Whether a value is wrong, a key is not there, or a key should not be there."""

    def at(self, place: str) -> str:
        path = f"{dotted(self.keys)}: " if self.keys else ""
        return f"{place}: {path}{self.message}"


def refuse(problems: Iterable[Problem], where: Callable[[Keys], str]) -> None:
    """Raise a UserError with one line for each problem; nothing if there is none."""
    lines = dict.fromkeys(problem.at(where(problem.keys)) for problem in problems)
    if lines:
        raise UserError("\n".join(lines))


def nearest(word: str, words: Iterable[str]) -> str:
    """`did you mean ratio?`, where one of the words is near; else empty."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`? " if close else ""


def problems_of(error: ValidationError, root: Any, model: Model) -> list[Problem]:
    """Everything that pydantic found wrong with `root`, as `model` sees it."""
    return [_problem(detail, root, model) for detail in error.errors(include_url=False)]


def _problem(detail: ErrorDetails, root: Any, model: Model) -> Problem:
    kind: Kind = _KINDS.get(detail["type"], "value")
    keys = _keys_in(root, detail["loc"], kind == "missing")
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, ParamsError):
        return Problem((*keys, *raised.field.split(".")), str(raised))
    if detail["type"] == "union_tag_invalid":
        keys = (*keys, "name")
    if detail["type"] == "union_tag_not_found":
        keys = (*keys, *_stranger(annotation_at(model, keys, root), lookup(root, keys)))
    explain = _EXPLAIN.get(detail["type"], _plain)
    return Problem(keys, explain(detail, keys, root, model), kind)


def _keys_in(root: Any, loc: tuple[str | int, ...], missing: bool) -> Keys:
    """pydantic's location without what it adds: names that chose a model, kinds of an axis."""
    keys: list[str | int] = []
    named = False
    for number, item in enumerate(loc):
        last = number == len(loc) - 1
        is_name = isinstance(root, Mapping) and root.get("name") == item and not named
        if is_name and (not last or item not in root):
            named = True
        elif (last and missing) or _has(root, item):
            keys.append(item)
            root, named = child(root, item), False
    return tuple(keys)


def _has(value: Any, key: str | int) -> bool:
    if isinstance(value, Mapping):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def _unknown_key(_: ErrorDetails, keys: Keys, root: Any, model: Model) -> str:
    parent = keys[:-1]
    section = model_of(annotation_at(model, parent, root), lookup(root, parent))
    known = [] if section is None else list(fields(section))
    keys_here = f"{nearest(str(keys[-1]), known)}The keys here are {', '.join(known)}"
    choices = names(annotation_at(model, parent, root))
    owners = [name for name, owner in choices.items() if keys[-1] in fields(owner)]
    if not owners:
        return f"unknown key; {keys_here}"
    chosen = lookup(root, (*parent, "name"))
    return (
        f"belongs to {', '.join(owners)}, not to {chosen}; an axis over it goes under `when`. "
        f"{keys_here}"
    )


def _missing_key(_: ErrorDetails, keys: Keys, root: Any, model: Model) -> str:
    section = model_of(annotation_at(model, keys[:-1], root), lookup(root, keys[:-1]))
    field = fields(section).get(str(keys[-1])) if section else None
    help_text = " ".join((field.description or "").split()) if field else ""
    return "is missing and has no default" + (f": {help_text}" if help_text else "")


def _unknown_name(_: ErrorDetails, keys: Keys, root: Any, model: Model) -> str:
    return _no_such_name(annotation_at(model, keys[:-1], root), lookup(root, keys), keys[:-1])


def _no_such_name(annotation: Any, name: Any, keys: Keys) -> str:
    known = sorted(names(annotation))
    kind = next((key for key in reversed(keys) if isinstance(key, str)), "part")
    kind = {"probes": "probe", "ratio": "schedule"}.get(kind, kind)
    return f"no {kind} is called {name!r}; {nearest(str(name), known)}There are {', '.join(known)}"


def _stranger(annotation: Any, section: Mapping[str, Any]) -> Keys:
    """The first key that no name of a section has: likely what `name` was mistyped as."""
    known = {key for model in names(annotation).values() for key in fields(model)}
    return tuple(key for key in section if key not in known)[:1]


def _name_missing(_: ErrorDetails, keys: Keys, root: Any, model: Model) -> str:
    annotation = annotation_at(model, keys, root)
    if names(annotation):
        return f"`name` is missing; there are {', '.join(sorted(names(annotation)))}"
    known = ", ".join(sorted(names(annotation_at(model, keys[:-1], root))))
    return f"unknown key, and `name` is missing; there are {known}"


def _not_a_choice(detail: ErrorDetails, keys: Keys, root: Any, model: Model) -> str:
    found = detail["input"]
    if keys[-1:] == ("name",) and isinstance(found, str):
        return _no_such_name(annotation_at(model, keys[:-1], root), found, keys[:-1])
    expected = detail.get("ctx", {}).get("expected", "")
    hint = nearest(found, expected.replace("'", "").split(" ")) if isinstance(found, str) else ""
    return f"{hint}It should be {expected}; found {_shown(found)}"


def _said(detail: ErrorDetails, *_: object) -> str:
    return str(detail.get("ctx", {}).get("error", detail["msg"]))


def _too_short(detail: ErrorDetails, *_: object) -> str:
    return f"should list at least {detail.get('ctx', {}).get('min_length', 1)}; found none"


def _plain(detail: ErrorDetails, *_: object) -> str:
    message = detail["msg"].removeprefix("Input ")
    message = message[:1].lower() + message[1:]
    for pydantic_says, yaml_says in _IN_YAML.items():
        message = message.replace(pydantic_says, yaml_says)
    return f"{message}; found {_shown(detail['input'])}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


_KINDS: dict[str, Kind] = {"missing": "missing", "extra_forbidden": "unknown"}

_IN_YAML = {
    "an object": "a mapping",
    "a valid array": "a list",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
}

_EXPLAIN: dict[str, Callable[[ErrorDetails, Keys, Any, Model], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "union_tag_invalid": _unknown_name,
    "union_tag_not_found": _name_missing,
    "literal_error": _not_a_choice,
    "value_error": _said,
    "too_short": _too_short,
}
