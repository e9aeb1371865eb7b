"""Whether the parts of a trial fit together, by what each part declares or refuses itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mimlab.spec.errors import Problem, refuse
from mimlab.spec.expand import Trial, expand, refuse_axes, refuse_points
from mimlab.spec.identity import identity
from mimlab.spec.load import LoadedStudy
from mimlab.spec.paths import TIMM_WEIGHTS
from mimlab.spec.ranking import metric_problems, ranking_problems
from mimlab.spec.space import space_of
from mimlab.spec.stored import stored_problems
from mimlab.spec.study import PRIOR, Study, TrialSpec
from mimlab.spec.survey import Check, start_points
from mimlab.spec.sweep import OptunaSearch
from mimlab_objectives.backbones.vit import VitBackbone, grid_of
from mimlab_objectives.masking.plan import Application, Grid, Masking, Signal, maskings
from mimlab_objectives.objectives.base import Objective, objectives
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.shapes_only import shapes_only
from mimlab_objectives.targets.base import Target, TargetKind, targets

OF_THE_LOOP: frozenset[Signal] = frozenset({"pixels", "prior_map"})
"""Signals that every objective can have, since the training loop supplies them."""

APPLIED: Mapping[Application, str] = {
    "hide": "hides patches",
    "pixels": "degrades pixels",
    "spectrum": "removes frequencies",
    "projection": "projects tokens",
}
MASK_TOKEN = "encoder_mask_token"
"""Parameter of objectives that can have a mask token in an encoder of kept patches."""
_REPLACES = "covers kept patches by mask tokens in the encoder"

KINDS: Mapping[TargetKind, str] = {
    "pixels": "pixels",
    "vectors": "vectors",
    "classes": "classes",
    "latent": "what an objective makes itself",
}


def legal_trials(loaded: LoadedStudy) -> list[Trial]:
    """Every trial of a study, all of them known to be able to start.

    Of an adaptive search, those that it begins with; what cannot run in its space is avoided.

    Raises UserError that lists every trial's problems, says what would be legal, and names the
    points that could be excluded.
    """
    if isinstance(loaded.study.sweep.search, OptunaSearch):
        return _start_trials(loaded)
    trials = expand(loaded)
    points = trials[:: len(loaded.study.sweep.seeds)]
    check = check_of(loaded.study)
    found = [(trial.settings, problem) for trial in points for problem in check(trial.spec)]
    refuse_points(found, len(points), loaded.source, remedy=True)
    refuse(_same_trials(points), loaded.where)
    return trials


def _start_trials(loaded: LoadedStudy) -> list[Trial]:
    refuse_axes(loaded)
    study = loaded.study
    refuse(_init_problems(study), loaded.where)
    refuse(metric_problems(study.sweep, study.probes), loaded.where)
    space = space_of(loaded)
    points = start_points(space, check_of(study), loaded.source)
    num_seeds = len(study.sweep.seeds)
    trials = [trial for i, p in enumerate(points) for trial in space.trials(p, i * num_seeds)]
    refuse(_same_trials(trials[::num_seeds]), loaded.where)
    return trials


def _init_problems(study: Study) -> Iterator[Problem]:
    """What an encoder starts from is looked at once, before it is known what the search asks."""
    groups = [(("sweep", "axes"), study.sweep.axes)]
    groups += [(("sweep", "when", i, "axes"), w.axes) for i, w in enumerate(study.sweep.when)]
    varied = {"backbone", "backbone.init"}
    if study.backbone.init == TIMM_WEIGHTS:
        varied.add("backbone.name")
    for at, axes in groups:
        for path in axes.keys() & varied:
            message = "decides what the encoder starts from, which only a grid or random search can"
            yield Problem((*at, path), f"{message} vary; use one of these, or give one `init`")


def check_of(study: Study) -> Check:
    """Says what does not fit in a trial of a study."""
    parts = _once_each(_part_problems)
    return lambda spec: _problems(spec, study, parts)


def _once_each(check: Check) -> Check:
    """Points mostly differ in what no network is built from: build each network once."""
    known: dict[str, list[Problem]] = {}

    def checked(spec: TrialSpec) -> Iterable[Problem]:
        key = spec.model_dump_json(exclude={"recipe", "masking", "train", "seed"})
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
        # What is built of a target depends on what is stored.
        yield from list(stored_problems(spec, grid)) or parts(spec)
        yield from _masking_problems(spec, grid, _counts(study))
    yield from _batch_problems(spec, _counts(study))
    yield from _budget_problems(spec, study)
    yield from ranking_problems(study.sweep, spec.probes, spec.train.budget.epochs)


def _counts(study: Study) -> Sequence[int]:
    """Every number of workers that a trial may train with."""
    return range(study.resources.fewest_workers, study.resources.most_workers + 1)


def _part_problems(spec: TrialSpec) -> Iterator[Problem]:
    """Build everything without memory: a part refuses by itself what it cannot be."""
    objective, target = objectives[spec.objective.name].part, targets[spec.target.name].part
    reason = target_problem(objective, target)
    if reason is not None:
        usable = [e.name for e in targets.entries() if not target_problem(objective, e.part)]
        others = [e.name for e in objectives.entries() if not target_problem(e.part, target)]
        yield Problem(
            ("target", "name"),
            f"{spec.target.name} {reason} {spec.objective.name}; take another target "
            f"({_listed(usable)}) or another objective ({_listed(others)})",
        )
        return
    try:
        with shapes_only():
            backbone = VitBackbone(spec.backbone, spec.data.image_size)
            built = target(spec.target, backbone.patch_size, backbone.grid)
            objective(spec.objective, backbone, built)
    except ParamsError as error:
        sections = ("objective", "target", "backbone")
        field, *nested = error.field.split(".")
        owner = next((s for s in sections if field in type(getattr(spec, s)).model_fields), "")
        yield Problem((owner, field, *nested), str(error))
        return
    for number, probe in enumerate(spec.probes):
        if probe.pooling == "cls" and backbone.num_prefix_tokens == 0:
            message = f"{spec.backbone.name} has no class token; use `pool: mean`"
            yield Problem(("probes", number, "pool"), message)
        maps = probe.label_maps
        if maps is not None and maps not in spec.data.sidecars:
            message = (
                f"{probe.label} reads label maps, and none are named; import some with "
                "`mimlab data maps … --kind labels`, and name them: "
                f"`data: {{sidecars: {{{maps}: FOLDER}}}}`"
            )
            yield Problem(("probes", number, "name"), message)


def _masking_problems(spec: TrialSpec, grid: Grid, counts: Sequence[int]) -> Iterator[Problem]:
    objective = objectives[spec.objective.name].part
    try:
        masking = maskings[spec.masking.name].part(spec.masking, grid)
    except ParamsError as error:
        yield Problem(("masking", error.field), str(error))
        return
    reason = pairing_problem(objective, masking)
    unsupplied = masking.requires - objective.supplies_with(spec.objective) - OF_THE_LOOP
    if reason is not None:
        usable = [e.name for e in maskings.entries() if not pairing_problem(objective, e.part)]
        others = [e.name for e in objectives.entries() if not pairing_problem(e.part, masking)]
        yield Problem(
            ("masking", "name"),
            f"{spec.masking.name} {reason} {spec.objective.name}; take another masking "
            f"({_listed(usable)}) or another objective ({_listed(others)})",
        )
    elif unsupplied:
        yield Problem(
            ("masking", "name"),
            f"{spec.masking.name} needs {_listed(sorted(unsupplied))}, which {spec.objective.name} "
            "does not supply with these parameters (such as a `teacher` that is no plain vision "
            "transformer); change them, or take another masking",
        )
    elif "prior_map" in masking.requires and PRIOR not in spec.data.sidecars:
        yield Problem(
            ("masking", "name"),
            f"{spec.masking.name} follows a map of each image: make it with `mimlab data maps` and "
            f"name its sidecar, data.sidecars: {{{PRIOR}: FOLDER}}",
        )
    elif (
        masking.replaces
        and objective.takes_replaced() == "if asked"
        and not getattr(spec.objective, MASK_TOKEN)
    ):
        yield Problem(
            ("objective", MASK_TOKEN),
            f"{spec.masking.name} {_REPLACES}: set {MASK_TOKEN} to true",
        )
    yield from _together_problems(spec, masking.images_together, counts)


def _together_problems(spec: TrialSpec, together: int, counts: Sequence[int]) -> Iterator[Problem]:
    """Images that a masking takes together must not be cut apart by what each worker gets."""
    batch = spec.train.batch_size
    whole = math.lcm(*counts) * math.lcm(spec.train.accumulate, together)
    for workers in counts:
        share, rest = divmod(batch, workers)
        if workers == 1 or rest or not share % together:
            continue
        yield Problem(
            ("train", "batch_size"),
            f"{batch} images on {workers} workers are {share} each, but {spec.masking.name} takes "
            f"every {together} in a row together; {_multiples(batch, whole)} would do",
        )
        return


def pairing_problem(objective: type[Objective], masking: Masking | type[Masking]) -> str | None:
    """Why an objective cannot train under a masking: words between their two names, or None."""
    if masking.application not in objective.applications:
        return f"{APPLIED[masking.application]}, which is not what is undone by the objective"
    missing = masking.requires - objective.supplies - OF_THE_LOOP
    if missing:
        return f"needs {_listed(sorted(missing))}, which is not supplied by the objective"
    if masking.replaces and objective.takes_replaced() == "never":
        return f"{_REPLACES}, which is not done by the objective"
    if objective.needs_equal_counts() and masking.count == "per_image":
        return (
            "hides a different number of patches in each image, but equally many must be kept in "
            "each by the objective"
        )
    return None


def target_problem(objective: type[Objective], target: type[Target]) -> str | None:
    """Why an objective cannot predict a target: words between their two names, or None."""
    if target.kind in objective.target_kinds:
        return None
    return f"gives {KINDS[target.kind]}, which is not what is predicted by the objective"


def _batch_problems(spec: TrialSpec, counts: Sequence[int]) -> Iterator[Problem]:
    """Of each number of workers that there may be: the first one that does not divide a batch."""
    batch, accumulate = spec.train.batch_size, spec.train.accumulate
    workers = next((count for count in counts if batch % (accumulate * count)), None)
    if workers is None:
        return
    every = f", on {counts[0]} to {counts[-1]} workers" if len(counts) > 1 else ""
    yield Problem(
        ("train", "batch_size"),
        f"{batch} images do not divide into {accumulate * workers} equal micro-batches (accumulate "
        f"{accumulate} × workers {workers}); {_multiples(batch, accumulate * math.lcm(*counts))} "
        f"would{every}",
    )


def _multiples(number: int, of: int) -> str:
    """The nearest below, where that is not 0, and above."""
    below, above = number // of * of, math.ceil(number / of) * of
    return f"{below} or {above}" if below else f"{above}"


def _budget_problems(spec: TrialSpec, study: Study) -> Iterator[Problem]:
    """Hours of a device that the trial does not have cannot be counted, nor those of trials that
    are not chosen yet measured."""
    budget, resources, at = spec.train.budget, study.resources, ("train", "budget")
    if budget.gpu_hours is not None and not resources.gpus_per_worker:
        message = "resources.gpus_per_worker is 0, so no GPU time is spent; give cpu_hours instead"
        yield Problem((*at, "gpu_hours"), message)
    if budget.cpu_hours is not None and resources.gpus_per_worker:
        message = (
            f"a worker trains on {resources.gpus_per_worker:g} GPUs, whose time counts; give "
            "gpu_hours instead"
        )
        yield Problem((*at, "cpu_hours"), message)
    if budget.in_hours and isinstance(study.sweep.search, OptunaSearch):
        message = (
            "hours become steps before a study starts, and `search: optuna` chooses its trials "
            "afterwards; give epochs, images, steps or visible_tokens"
        )
        yield Problem((*at, *budget.asked), message)


def _same_trials(points: Sequence[Trial]) -> Iterator[Problem]:
    seen: dict[str, Trial] = {}
    for trial in points:
        # Where the data lie stands for what they are, which is not looked at here.
        key, _ = identity(trial.spec, trial.spec.data.images, trial.spec.data.beside)
        other = seen.setdefault(key, trial)
        if other is not trial:
            yield Problem(
                ("sweep", "axes"),
                f"({other.label}) and ({trial.label}) are the same trial: what differs between "
                "them changes no result",
            )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "none"
