"""What every section of a study shares."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, model_validator

from mimlab_objectives.registry import ParamsError


class Section(BaseModel):
    """A part of a study: frozen, unknown keys refused, field docstrings as help."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True
    )


class OneOf(Section):
    """A section of which exactly one key is given.

    Where a preset, `--set` or an axis gives another of its keys, that one takes the place.
    """

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        given = [name for name, value in self if value is not None]
        if len(given) == 1:
            return self
        names = ", ".join(type(self).model_fields)
        found = " and ".join(given) or "none of them"
        raise ValueError(f"give exactly one of {names}; found {found}")


@dataclass(frozen=True)
class NotIdentity:
    """Marks a field, as `Annotated[int, NotIdentity()]`, that changes no result of a trial.

    Such a field may change between two launches of the same trial. Everything else is hashed into
    its identity, so that a field which nobody thought about is safe.
    """


def at_field(field: str, message: str) -> ParamsError:
    """An error of a validator that sees a whole section, reported at the line of one field."""
    return ParamsError(field, message)
