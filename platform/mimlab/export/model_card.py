"""The model card of an exported encoder, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm

from mimlab.export.timm_folder import calls
from mimlab.spec.study import Part, TrialSpec, trial_spec
from mimlab.storage.folders import TrialFolder, submissions
from mimlab.storage.records import DONE, OwnerRecord, ProbeRecord, SubmissionRecord
from mimlab.storage.remote_path import place_of
from mimlab.train.export import EncoderCard
from mimlab_objectives.images import MEAN, STD

_TEMPLATE = """\
# {title}

A vision transformer, pre-trained by masked image modeling without labels: trial `{trial}` of the
study *{study}*.{question}

## How to load it

```python
import timm

model = {by_folder}
```

or, without `config.json`,

```python
model = {by_arguments}
```

Both were run when this folder was written, with timm {timm}, and gave the features of the trained
encoder bit for bit. `model.forward_features(images)` gives its tokens after the final norm; class
and register tokens come first ({prefix} of them), then the patches row by row. Images are RGB,
{size} × {size} pixels, scaled to [0, 1] and normalised by mean {mean} and deviation {std}.

## How it was trained

{training}

## What probes of the frozen encoder gave

{probes}

## What made it

{made}

## Licence

Not chosen yet: it is for whoever publishes these weights, and may depend on the training images.
"""


def model_card(trial: TrialFolder, card: EncoderCard, folder: Path, prefix: int) -> str:
    """The card of one export; `folder` is where it is going to lie, `prefix` its other tokens."""
    record = trial.record()
    spec = trial_spec(record.resolved)
    submission = _submission_of(trial)
    by_folder, by_arguments = calls(folder, card)
    question = submission.question if submission else ""
    return _TEMPLATE.format(
        title=f"{card.backbone.name}, {spec.objective.name} with {spec.masking.name} masking",
        trial=trial.id,
        study=record.study,
        question=f" It asks: {question}" if question else "",
        by_folder=by_folder,
        by_arguments=by_arguments,
        timm=timm.__version__,
        prefix=prefix,
        size=card.image_size,
        mean=MEAN,
        std=STD,
        training=_table(("", ""), _training(trial, card, spec, record.identity)),
        probes=_probes([probe for probe in trial.probes() if probe.step == card.step]),
        made=_table(("", ""), _made(card, submission)),
    )


def _training(
    trial: TrialFolder, card: EncoderCard, spec: TrialSpec, identity: dict[str, str]
) -> list[tuple[str, str]]:
    status = trial.status()
    whole = "" if status.state in DONE else f"; the trial itself is {status.state}, not finished"
    images = card.step * spec.train.batch_size
    return [
        ("encoder", _part(card.backbone.name, card.backbone.model_dump())),
        ("objective", _registered(spec.objective)),
        ("target", _registered(spec.target)),
        ("masking", _registered(spec.masking)),
        ("images", f"{place_of(spec.data.images).name}, split `{spec.data.splits.train}`"),
        ("data fingerprint", f"`{identity['data.fingerprint']}`"),
        ("steps", f"{card.step:,} of {status.total_steps:,}{whole}"),
        ("epochs", f"{card.epoch:.4g}"),
        ("images seen", f"{images:,}"),
        ("batch size", f"{spec.train.batch_size}"),
        ("optimizer", _part(spec.train.optimizer.name, spec.train.optimizer.model_dump())),
        ("precision", spec.train.precision),
        ("seed", str(spec.seed)),
    ]


def _made(card: EncoderCard, submission: SubmissionRecord | None) -> list[tuple[str, str]]:
    rows = [("weights, sha256", f"`{card.weights_sha256}`")]
    if submission is None:
        return rows
    wanted = ("python", "git.commit")
    environment = {
        name.removeprefix("package."): value
        for name, value in submission.environment.items()
        if name in wanted or name.startswith("package.")
    }
    return [
        *rows,
        ("submission", f"{submission.id}, {submission.created}"),
        ("code fingerprint", f"`{submission.code_fingerprint}`"),
        *environment.items(),
    ]


def _submission_of(trial: TrialFolder) -> SubmissionRecord | None:
    """The submission that ran a trial last, or else one that it is part of."""
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    found = [
        folder.record()
        for folder in submissions(trial.store)
        if trial.id in {member.id for member in folder.trials()}
    ]
    running = [record for record in found if owner and record.id == owner.submission]
    return next(iter([*running, *reversed(found)]), None)


def _probes(records: Sequence[ProbeRecord]) -> str:
    rows = [
        (key, f"{value:.4f}", record.protocol, f"{record.num_fit:,}", f"{record.num_test:,}")
        for record in records
        for key, value in record.metrics.items()
    ]
    if not rows:
        return "None was run on this step."
    return _table(("measure", "value", "protocol", "fitted on", "tested on"), rows)


def _registered(part: Part) -> str:
    return _part(part.name, part.model_dump(exclude={"name"}))


def _part(name: str, parameters: dict[str, object]) -> str:
    given = {key: value for key, value in parameters.items() if value is not None and key != "name"}
    listed = ", ".join(f"{key} {value}" for key, value in given.items())
    return f"{name} ({listed})" if listed else name


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell for cell in line)} |" for line in lines)
