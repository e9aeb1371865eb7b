"""Points of a study over their seeds: what is compared, and how it is called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mimlab.compare.ratio_text import is_of_ratio, ratio_text
from mimlab.compare.shown import shown_as, shown_recipe
from mimlab.compare.trials import TrialResult
from mimlab.spec.recipes import RECIPE
from mimlab.spec.study import REGISTRIES

NAME = "masking.name"
NO_RATIO = "–"
REALISED = "mask/ratio_realised"


@dataclass(frozen=True)
class Cell:
    """Trials that differ by their seed alone."""

    variant: str
    """The masking's name, and its parameters that vary among the trials of that name."""
    ratio: str
    """As the study asks for it; `–` where the masking has none."""
    setting: str
    """Values of the axes outside the masking; empty where none varies."""
    trials: tuple[TrialResult, ...]

    @property
    def masking(self) -> str:
        """The masking's name."""
        return self.trials[0].masking["name"]

    @property
    def point(self) -> str:
        """Masking and ratio."""
        return self.variant if self.ratio == NO_RATIO else f"{self.variant} · {self.ratio}"

    @property
    def label(self) -> str:
        """Everything that tells it from the other cells."""
        return f"{self.point} · {self.setting}" if self.setting else self.point

    @property
    def complete(self) -> bool:
        return all(trial.finished for trial in self.trials)

    @property
    def unfinished(self) -> str:
        """States of the trials that are not finished, e.g. `failed, running`."""
        states = {trial.status.state for trial in self.trials if not trial.finished}
        return ", ".join(sorted(states))

    def scores(self, metric: str) -> dict[int, float]:
        """Seed → the last score of a probe.

        Of finished trials, while there are any: an earlier epoch is no match for a later one.
        """
        finished = [trial for trial in self.trials if trial.finished]
        found = {trial.seed: trial.scores.get(metric) for trial in finished or self.trials}
        return {seed: score for seed, score in found.items() if score is not None}

    def mean_of(self, metric: str) -> float | None:
        """Mean over the seeds of the last value of a training metric."""
        values = [value for t in self.trials if (value := t.last(metric)) is not None]
        return sum(values) / len(values) if values else None

    @property
    def ratio_realised(self) -> float | None:
        return self.mean_of(REALISED)


def cells_of(trials: Sequence[TrialResult]) -> list[Cell]:
    """The cells of a study, by masking, then setting, then rising ratio."""
    groups: dict[tuple[str, str, str], list[TrialResult]] = {}
    for trial in trials:
        key = (_variant(trial, trials), _setting(trial, trials), ratio_of(trial))
        groups.setdefault(key, []).append(trial)
    cells = [Cell(v, ratio, setting, tuple(found)) for (v, setting, ratio), found in groups.items()]
    order = {name: i for i, name in enumerate(variants(cells))}
    places = {name: i for i, name in enumerate(settings(cells))}
    rank = {ratio: i for i, ratio in enumerate(ratios(cells))}
    return sorted(cells, key=lambda c: (order[c.variant], places[c.setting], rank[c.ratio]))


def variants(cells: Iterable[Cell]) -> list[str]:
    """In the order of the study."""
    return list(dict.fromkeys(cell.variant for cell in cells))


def settings(cells: Iterable[Cell]) -> list[str]:
    """In the order of the study."""
    return list(dict.fromkeys(cell.setting for cell in cells))


def ratios(cells: Iterable[Cell]) -> list[str]:
    """Numbers first, rising."""
    return sorted({cell.ratio for cell in cells}, key=_rank)


def ratio_of(trial: TrialResult) -> str:
    """The ratio asked for: a number, a schedule in short, or `–`."""
    ratio = trial.masking.get("ratio")
    return NO_RATIO if ratio is None else ratio_text(ratio)


def axes_of(trials: Sequence[TrialResult]) -> list[str]:
    """Every path that some trial's point sets."""
    return list(dict.fromkeys(path for trial in trials for path in trial.record.point))


def _rank(ratio: str) -> tuple[bool, float, str]:
    try:
        return (False, float(ratio), "")
    except ValueError:
        return (True, 0.0, ratio)


def _variant(trial: TrialResult, trials: Sequence[TrialResult]) -> str:
    name = trial.masking["name"]
    same = [other for other in trials if other.masking["name"] == name]
    inside = [
        path
        for path in axes_of(same)
        if path.startswith("masking.") and path != NAME and not is_of_ratio(path)
    ]
    return " ".join([name, *values_of(trial, same, inside)])


def _setting(trial: TrialResult, trials: Sequence[TrialResult]) -> str:
    outside = [path for path in axes_of(trials) if not path.startswith("masking.")]
    return ", ".join(values_of(trial, trials, outside))


def values_of(trial: TrialResult, among: Sequence[TrialResult], paths: Sequence[str]) -> list[str]:
    """`key=value` of the paths that vary among some trials and that this one sets."""

    def value(of: TrialResult, path: str) -> str | None:
        if path not in of.record.point:
            return None
        if path == RECIPE and "target.name" not in paths:
            return shown_recipe(str(of.record.point[path]), of.record.resolved.get("target", {}))
        section, _, key = path.rpartition(".")
        if key == "name" and section in REGISTRIES:
            return shown_as(
                section, str(of.record.point[path]), of.record.resolved.get(section, {})
            )
        return _text(of.record.point[path])

    varying = [path for path in paths if len({value(other, path) for other in among}) > 1]
    return [
        f"{_short(path, paths)}={text}"
        for path in varying
        if (text := value(trial, path)) is not None
    ]


def _short(path: str, paths: Sequence[str]) -> str:
    """The last word of a path, unless another path ends in it too; `target.name` is `target`."""
    tails = [other.removesuffix(".name").rsplit(".", 1)[-1] for other in paths]
    tail = path.removesuffix(".name").rsplit(".", 1)[-1]
    return tail if tails.count(tail) == 1 else path


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
