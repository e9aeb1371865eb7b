"""Whether the sidecars that trials name are there, and made for their images."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import Sidecar
from mimlab.errors import UserError
from mimlab.spec.errors import Problem
from mimlab.spec.study import TrialSpec
from mimlab.spec.survey import Check


def sidecar_check(data: DataSet) -> Check:
    """Says what is wrong with the sidecars of a trial; each place is looked at once."""

    @functools.cache
    def refusal(place: str) -> str:
        try:
            Sidecar.open(place, data)
        except UserError as error:
            return str(error)
        return ""

    def check(spec: TrialSpec) -> Iterator[Problem]:
        for name, place in spec.data.sidecars.items():
            if message := refusal(place):
                yield Problem(("data", "sidecars", name), message)

    return check
