"""Whether the sidecars that trials name are there, and made for their images."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import Kind, Sidecar
from mimlab.errors import UserError
from mimlab.spec.errors import Problem
from mimlab.spec.study import PRIOR, TrialSpec
from mimlab.spec.survey import Check
from mimlab.tokens.store import TokenStore


def sidecar_check(data: DataSet) -> Check:
    """Says what is wrong with the sidecars of a trial; each place is looked at once."""

    @functools.cache
    def opened(place: str) -> tuple[Kind | None, str]:
        """Its kind, or why it cannot serve."""
        try:
            return Sidecar.open(place, data).kind, ""
        except UserError as error:
            return None, str(error)

    @functools.cache
    def refused_store(place: str) -> str:
        """Why a token store cannot serve; empty if it can."""
        try:
            TokenStore.attached(place, data)
        except UserError as error:
            return str(error)
        return ""

    def check(spec: TrialSpec) -> Iterator[Problem]:
        if spec.data.tokens is not None and (refusal := refused_store(spec.data.tokens)):
            yield Problem(("data", "tokens"), refusal)
        labels = {probe.label_maps for probe in spec.probes}
        for name, place in spec.data.sidecars.items():
            kind, refusal = opened(place)
            if kind == "map" and name in labels:
                refusal = f"{place}: holds values, not labels; import it with `--kind labels`"
            if kind in ("codes", "features"):
                refusal = f"{place}: is a token store; name it by `data.tokens`"
            if kind == "labels_map" and name == PRIOR:
                refusal = f"{place}: holds labels, not values; import it with `--kind map`"
            if refusal:
                yield Problem(("data", "sidecars", name), refusal)

    return check
