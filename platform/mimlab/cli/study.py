"""`mimlab validate`, `plan` and `schema`: what a study file says, before anything runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import Json, Overrides, Preset, StudyFile
from mimlab.errors import UserError
from mimlab.search import ray_settings

if TYPE_CHECKING:
    from mimlab.search.preview import Preview
    from mimlab.search.submission import PlannedStudy

POINTS_SHOWN = 60


def validate(
    file: StudyFile, preset: Preset = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Check a study file without looking at its data.

    Example: mimlab validate sweeps/quickstart.yaml
    """
    from mimlab.spec.checks import legal_trials  # torch and timm take seconds to import
    from mimlab.spec.load import load_study
    from mimlab.spec.space import num_trials

    loaded = load_study(file, preset, overrides or [])
    trials = num_trials(loaded.study, legal_trials(loaded))
    if as_json:
        typer.echo(json.dumps({"study": loaded.study.study, "trials": trials}))
        return
    typer.echo(f"{file}: study {loaded.study.study!r} is sound; {trials} trials")


def plan(
    file: StudyFile,
    preset: Preset = None,
    overrides: Overrides = None,
    measure: Annotated[
        bool,
        typer.Option("--measure/--no-measure", help="Run some steps of each shape for the bill."),
    ] = True,
    elsewhere: Annotated[
        bool,
        typer.Option(
            "--elsewhere", help="It runs on a cluster: what does not fit here has only no bill."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the trials that a study would run, or the space that a search chooses them from.

    It says which budget they spend equally, and measures its bill here: a few steps of each
    distinct shape, of which nothing is kept. `mimlab run STUDY --smoke` tries each shape end to
    end.

    Example: mimlab plan sweeps/quickstart.yaml --set 'sweep.seeds=[0, 1]'
    """
    ray_settings.apply()
    from mimlab.search.hours import with_hours_frozen  # torch and timm take seconds to import
    from mimlab.search.preview import preview
    from mimlab.search.submission import plan_study, trials_at_once
    from mimlab.spec.load import load_study

    loaded = load_study(file, preset, overrides or [])
    planned = with_hours_frozen(loaded, plan_study(loaded, here=not elsewhere))
    misfit = ""
    try:
        at_once = trials_at_once(planned)
    except UserError as error:
        if not elsewhere:
            raise
        at_once, misfit = None, f"no bill: {error}; `mimlab plan` on a node of the cluster has one"
    shown = preview(planned, at_once)
    console = Console()
    if not as_json:
        _show(console, shown)
    if misfit:
        shown = shown.model_copy(update={"warnings": [misfit]})
    elif measure:
        shown = _with_bill(shown, planned)
    if as_json:
        typer.echo(shown.model_dump_json(indent=1))
    elif misfit:
        console.print(misfit, highlight=False, soft_wrap=True)
    elif shown.bill is not None:
        from mimlab.cli.bill_table import bill_table

        console.print(bill_table(shown.bill, shown.warnings))


def _with_bill(shown: Preview, planned: PlannedStudy) -> Preview:
    from mimlab.search.estimate import bill_of

    with Console(stderr=True).status("measuring") as status:
        bill, warnings = bill_of(
            planned, lambda number, of: status.update(f"measuring shape {number} of {of}")
        )
    return shown.model_copy(update={"bill": bill, "warnings": warnings})


def _show(console: Console, shown: Preview) -> None:
    if shown.space is not None:
        from mimlab.cli.space import space_table

        console.print(space_table(shown, shown.space))
    else:
        console.print(_trials(shown))
        if len(shown.trials) > POINTS_SHOWN:
            console.print(f"… and {len(shown.trials) - POINTS_SHOWN} more (--json shows all)")
    if shown.equal:
        console.print(shown.equal, highlight=False, soft_wrap=True)
    console.print(
        f"{shown.images:,} images of {shown.data}; {shown.to_run} trials to run"
        + (f", {shown.concurrent} at once on this machine" if shown.concurrent else "")
    )


def _trials(shown: Preview) -> Table:
    table = Table(title=f"{shown.study}: {len(shown.trials)} trials", title_justify="left")
    for name in ("trial", "point", "seed", "hidden of patches", "steps", "state"):
        table.add_column(name)
    for trial in shown.trials[:POINTS_SHOWN]:
        point = ", ".join(f"{path}={value}" for path, value in trial.point.items())
        hidden = f"{trial.hidden_patches} of {trial.patches}"
        cells = (trial.id, point, str(trial.seed), hidden, f"{trial.steps:,}", trial.state)
        table.add_row(*cells)
    return table


def schema() -> None:
    """Print the JSON Schema of study files, for editors.

    Example: mimlab schema > study.schema.json
    """
    from mimlab.spec.schema import study_schema  # timm takes seconds to import

    typer.echo(json.dumps(study_schema(), indent=1))
