"""Whether the parts of a trial fit together, by what each part declares or refuses itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from mimlab.probe.config import metric_of
from mimlab.spec.errors import Problem, refuse
from mimlab.spec.expand import Trial, expand, refuse_points
from mimlab.spec.identity import identity
from mimlab.spec.load import LoadedStudy
from mimlab.spec.study import REGISTRIES, Resources, Study, TrialSpec
from mimlab_objectives.backbones.vit import VitBackbone, grid_of
from mimlab_objectives.masking.plan import Grid, Masking, maskings
from mimlab_objectives.objectives.base import Objective, objectives
from mimlab_objectives.registry import Entry, ParamsError


def legal_trials(loaded: LoadedStudy) -> list[Trial]:
    """Every trial of a study, all of them known to be able to start.

    Raises UserError that lists every trial's problems, says what would be legal, and names the
    points that could be excluded.
    """
    trials = expand(loaded)
    points = trials[:: len(loaded.study.sweep.seeds)]
    parts = _once_each(_part_problems)
    found = [
        (trial.settings, problem)
        for trial in points
        for problem in _problems(trial.spec, loaded.study, parts)
    ]
    refuse_points(found, len(points), loaded.source, remedy=True)
    refuse(_same_trials(points), loaded.where)
    return trials


Check = Callable[[TrialSpec], Iterable[Problem]]


def _once_each(check: Check) -> Check:
    """Points mostly differ in what no network is built from: build each network once."""
    known: dict[str, list[Problem]] = {}

    def checked(spec: TrialSpec) -> Iterable[Problem]:
        key = spec.model_dump_json(exclude={"masking", "train", "seed"})
        if key not in known:
            known[key] = list(check(spec))
        return known[key]

    return checked


def _problems(spec: TrialSpec, study: Study, parts: Check) -> Iterator[Problem]:
    """Everything that does not fit in one trial."""
    try:
        grid = grid_of(spec.backbone, spec.data.image_size)
    except ParamsError as error:
        section = "data" if error.field == "image_size" else "backbone"
        yield Problem((section, error.field), str(error))
    else:
        yield from parts(spec)
        yield from _masking_problems(spec, grid)
    yield from _batch_problems(spec, study.resources.workers)
    yield from _budget_problems(spec, study.resources)
    yield from _stopping_problems(spec, study)


def _part_problems(spec: TrialSpec) -> Iterator[Problem]:
    """Build everything without memory: a part refuses by itself what it cannot be."""
    try:
        with torch.device("meta"):
            backbone = VitBackbone(spec.backbone, spec.data.image_size)
            target = REGISTRIES["target"][spec.target.name].part(spec.target, backbone.patch_size)
            objectives[spec.objective.name].part(spec.objective, backbone, target)
    except ParamsError as error:
        sections = ("objective", "target", "backbone")
        owner = next(
            (s for s in sections if error.field in type(getattr(spec, s)).model_fields), ""
        )
        yield Problem((owner, error.field), str(error))
        return
    for number, probe in enumerate(spec.probes):
        if probe.pool == "cls" and backbone.num_prefix_tokens == 0:
            message = f"{spec.backbone.name} has no class token; use `pool: mean`"
            yield Problem(("probes", number, "pool"), message)


def _masking_problems(spec: TrialSpec, grid: Grid) -> Iterator[Problem]:
    masking = maskings[spec.masking.name]
    objective = objectives[spec.objective.name].part
    try:
        masking.part(spec.masking, grid)
    except ParamsError as error:
        yield Problem(("masking", error.field), str(error))
    if not _supplies(objective, masking):
        usable = [e.name for e in maskings.entries() if _supplies(objective, e)]
        needs = _listed(sorted(masking.part.requires))
        yield Problem(
            ("masking", "name"),
            f"{spec.masking.name} needs {needs}, which the objective "
            f"{spec.objective.name} does not supply; with it go {_listed(usable)}",
        )
    if not _count_fits(objective, masking):
        usable = [e.name for e in maskings.entries() if _count_fits(objective, e)]
        others = [e.name for e in objectives.entries() if _count_fits(e.part, masking)]
        yield Problem(
            ("masking", "name"),
            f"{spec.masking.name} hides a different number of patches in each image, but the "
            f"objective {spec.objective.name} encodes only those that are kept, equally many in "
            f"each image; take another masking ({_listed(usable)}) or another objective "
            f"({_listed(others)})",
        )


def _supplies(objective: type[Objective], masking: Entry[Masking]) -> bool:
    """An objective that leaves `signals` as it is supplies none."""
    return not masking.part.requires or objective.signals is not Objective.signals


def _count_fits(objective: type[Objective], masking: Entry[Masking]) -> bool:
    return objective.mode != "visible" or masking.part.count != "per_image"


def _batch_problems(spec: TrialSpec, workers: int) -> Iterator[Problem]:
    batch, parts = spec.train.batch_size, spec.train.accumulate * workers
    if batch % parts == 0:
        return
    below, above = batch // parts * parts, math.ceil(batch / parts) * parts
    legal = f"{below} or {above}" if below else f"{above}"
    yield Problem(
        ("train", "batch_size"),
        f"{batch} images do not divide into {parts} equal micro-batches (accumulate "
        f"{spec.train.accumulate} × workers {workers}); {legal} would",
    )


def _budget_problems(spec: TrialSpec, resources: Resources) -> Iterator[Problem]:
    """Hours of a device that the trial does not have cannot be counted."""
    budget, at = spec.train.budget, ("train", "budget")
    if budget.gpu_hours is not None and not resources.gpus_per_worker:
        message = "resources.gpus_per_worker is 0, so no GPU time is spent; give cpu_hours instead"
        yield Problem((*at, "gpu_hours"), message)
    if budget.cpu_hours is not None and resources.gpus_per_worker:
        message = (
            f"a worker trains on {resources.gpus_per_worker:g} GPUs, whose time counts; give "
            "gpu_hours instead"
        )
        yield Problem((*at, "cpu_hours"), message)


def _stopping_problems(spec: TrialSpec, study: Study) -> Iterator[Problem]:
    stopping = study.sweep.stopping
    if stopping is None:
        return
    at = ("sweep", "stopping")
    probes = {metric_of(probe): probe for probe in spec.probes}
    during = [key for key, p in probes.items() if p.every_epochs is not None]
    if stopping.metric in probes and stopping.metric not in during:
        message = f"{stopping.metric} is measured only at the end; give its probe `every_epochs`"
        yield Problem((*at, "metric"), message)
    elif stopping.metric not in during:
        ranks = _listed(during) if during else "none: add a probe with `every_epochs`"
        message = f"{stopping.metric} cannot rank trials while they run; of the probes there are "
        yield Problem((*at, "metric"), message + ranks)
    epochs = spec.train.budget.epochs
    if epochs is not None and stopping.grace_epochs >= epochs:
        message = f"{stopping.grace_epochs:g} is not below the budget of {epochs:g} epochs"
        yield Problem((*at, "grace_epochs"), f"{message}; nothing would ever stop")


def _same_trials(points: Sequence[Trial]) -> Iterator[Problem]:
    seen: dict[str, Trial] = {}
    for trial in points:
        key, _ = identity(trial.spec, trial.spec.data.images)
        other = seen.setdefault(key, trial)
        if other is not trial:
            yield Problem(
                ("sweep", "axes"),
                f"({other.label}) and ({trial.label}) are the same trial: what differs between "
                "them changes no result",
            )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "none"
