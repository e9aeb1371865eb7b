"""A budget in GPU- or CPU-hours: steps, by the time that a step of each shape is measured to take.

It is measured once, by one trial alone on this machine, and frozen: what resumes or repeats the
study takes the steps of its submission, however fast they run by then. Starting, probing and
reading ahead are not counted, as they are not in the training time of `mimlab compare`.
"""

from __future__ import annotations

from dataclasses import replace

from mimlab.errors import UserError
from mimlab.search.frozen import id_as_asked, with_steps
from mimlab.search.hour_limit import devices_of
from mimlab.search.measure import measure_shapes
from mimlab.search.shapes import shape_of, shapes
from mimlab.search.submission import PlannedStudy, refuse_warmups, retrialled, storage_of
from mimlab.spec.load import LoadedStudy
from mimlab.spec.resolve import study_hash
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import submissions
from mimlab.train.schedule import steps_of_amount


def with_hours_frozen(
    loaded: LoadedStudy, planned: PlannedStudy, *, again: bool = False
) -> PlannedStudy:
    """The study with steps in the place of hours; itself where no trial has such a budget.

    The steps are those of the latest submission of the same study in its storage. Where there is
    none, or `again`, each shape is measured here, which takes a minute or so. Raises UserError.
    """
    if not any(trial_spec(r.resolved).train.budget.in_hours for r in planned.trials):
        return planned
    steps = None if again else _submitted(planned)
    if steps is None:
        planned = _measured(loaded, planned)
        steps = _steps(planned)
    frozen = _with_steps(planned, steps)
    refuse_warmups(loaded, frozen)
    return frozen


def _with_steps(planned: PlannedStudy, steps: dict[str, int]) -> PlannedStudy:
    return retrialled(
        planned, [with_steps(r, steps[r.id]) if r.id in steps else r for r in planned.trials]
    )


def _submitted(planned: PlannedStudy) -> dict[str, int] | None:
    """Steps by the trials' ids as asked, of the latest submission that has all of them."""
    store, wanted = storage_of(planned.study), study_hash(planned.study)
    for folder in reversed(submissions(store)):
        if folder.record().study_hash != wanted:
            continue
        known = {id_as_asked(r): r for r in folder.trial_records() if r.budget_asked}
        hours = [r.id for r in planned.trials if trial_spec(r.resolved).train.budget.in_hours]
        if known.keys() >= set(hours):
            return {i: trial_spec(known[i].resolved).train.budget.steps or 0 for i in hours}
    return None


def _steps(planned: PlannedStudy) -> dict[str, int]:
    """Steps by the trials' ids, at what was measured of their shapes."""
    steps: dict[str, int] = {}
    for record in planned.trials:
        spec = trial_spec(record.resolved)
        if spec.train.budget.in_hours:
            (hours,) = spec.train.budget.asked.values()
            step_s = planned.measured[shape_of(spec)].step_s
            spent = step_s * devices_of(planned.study.resources).count / 3600
            steps[record.id] = steps_of_amount(hours, spent)
    return steps


def _measured(loaded: LoadedStudy, planned: PlannedStudy) -> PlannedStudy:
    """The study with what its shapes take; a bill need not measure them again. Raises UserError."""
    groups = shapes(planned)
    try:
        found = measure_shapes(planned, groups, lambda _number, _of: None)
    except UserError as error:
        raise UserError(
            f"{loaded.where(('train', 'budget'))}: train.budget: no step could be measured to turn "
            f"hours into steps ({error}); `mimlab run --smoke` shows why, and a budget in epochs, "
            "images, steps or visible_tokens needs no measuring"
        ) from error
    keys = [shape_of(trial_spec(group[0].resolved)) for group in groups]
    return replace(planned, measured=dict(zip(keys, found, strict=True)))
