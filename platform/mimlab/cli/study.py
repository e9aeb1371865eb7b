"""`mimlab validate`, `plan` and `schema`: what a study file says, before anything runs."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import Json, Overrides, Preset, StudyFile
from mimlab.search import ray_settings

POINTS_SHOWN = 60


def validate(
    file: StudyFile, preset: Preset = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Check a study file without looking at its data.

    Example: mimlab validate sweeps/quickstart.yaml
    """
    from mimlab.spec.checks import legal_trials  # torch and timm take seconds to import
    from mimlab.spec.load import load_study

    loaded = load_study(file, preset, overrides or [])
    trials = legal_trials(loaded)
    if as_json:
        typer.echo(json.dumps({"study": loaded.study.study, "trials": len(trials)}))
        return
    typer.echo(f"{file}: study {loaded.study.study!r} is sound; {len(trials)} trials")


def plan(
    file: StudyFile, preset: Preset = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Show the trials that a study would run, after conditions and exclusions.

    It says which budget they spend equally; one in hours is measured. `mimlab run STUDY --smoke`
    tries each shape end to end.

    Example: mimlab plan sweeps/quickstart.yaml --set 'sweep.seeds=[0, 1]'
    """
    ray_settings.apply()
    from mimlab.search.hours import with_hours_frozen  # torch and timm take seconds to import
    from mimlab.search.preview import preview
    from mimlab.search.submission import plan_study
    from mimlab.spec.load import load_study

    loaded = load_study(file, preset, overrides or [])
    shown = preview(with_hours_frozen(loaded, plan_study(loaded)))
    if as_json:
        typer.echo(shown.model_dump_json(indent=1))
        return
    console = Console()
    table = Table(title=f"{shown.study}: {len(shown.trials)} trials", title_justify="left")
    for name in ("trial", "point", "seed", "hidden of patches", "steps", "state"):
        table.add_column(name)
    for trial in shown.trials[:POINTS_SHOWN]:
        point = ", ".join(f"{path}={value}" for path, value in trial.point.items())
        hidden = f"{trial.hidden_patches} of {trial.patches}"
        cells = (trial.id, point, str(trial.seed), hidden, f"{trial.steps:,}", trial.state)
        table.add_row(*cells)
    console.print(table)
    if len(shown.trials) > POINTS_SHOWN:
        console.print(f"… and {len(shown.trials) - POINTS_SHOWN} more (--json shows all)")
    if shown.equal:
        console.print(shown.equal, highlight=False, soft_wrap=True)
    console.print(
        f"{shown.images:,} images of {shown.data}; {shown.to_run} trials to run, "
        f"{shown.concurrent} at once on this machine"
    )


def schema() -> None:
    """Print the JSON Schema of study files, for editors.

    Example: mimlab schema > study.schema.json
    """
    from mimlab.spec.schema import study_schema  # timm takes seconds to import

    typer.echo(json.dumps(study_schema(), indent=1))
