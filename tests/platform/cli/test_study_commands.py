"""`validate`, `plan`, `schema` and `list`: text for people, JSON for programs, the same facts."""

from __future__ import annotations

import json

import pytest

PARTS = ("objective:", "target:", "masking:")


def test_validate_counts_the_trials(call, folder) -> None:
    said = call("validate", "tiny.yaml", "--set", "sweep.seeds=[0, 1, 2]")
    assert said.code == 0
    assert said.out == "tiny.yaml: study 'tiny' is sound; 6 trials\n"
    said = call("validate", "tiny.yaml", "--json")
    assert json.loads(said.out) == {"study": "tiny", "trials": 2}
    assert not (folder / "runs").exists()


def test_plan_shows_what_would_run(call, folder) -> None:
    said = call("plan", "tiny.yaml", "--json", "--no-measure")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert (found["study"], found["images"], found["to_run"]) == ("tiny", 1438, 2)
    assert found["concurrent"] == 1
    hidden = [(trial["hidden_patches"], trial["patches"]) for trial in found["trials"]]
    assert hidden == [(8, 16), (12, 16)]
    assert {trial["steps"] for trial in found["trials"]} == {600}
    assert found["bill"] is None and found["warnings"] == []
    text = call("plan", "tiny.yaml", "--no-measure").words
    for trial in found["trials"]:
        assert trial["id"] in text and trial["state"] == "pending"
    for shown in ("masking.ratio=0.5", "8 of 16", "12 of 16", "1,438 images", "2 trials to run"):
        assert shown in text


def test_plan_makes_nothing_but_the_built_in_data(call, folder) -> None:
    assert call("plan", "tiny.yaml", "--no-measure").code == 0
    assert [path.name for path in (folder / "runs").iterdir()] == ["data"]


def test_plan_shortens_a_long_list_and_says_so(call) -> None:
    command = ["plan", "tiny.yaml", "--no-measure", "--set", f"sweep.seeds={list(range(40))}"]
    assert "… and 20 more" in call(*command).words
    assert len(json.loads(call(*command, "--json").out)["trials"]) == 80


PAPERS = """\
sweep:
  axes:
    recipe: [mae, simmim]
resources: {cpus_per_worker: 1, concurrent_trials: 1}
"""


def test_plan_compares_papers(call, folder, tiny: str) -> None:
    head = [line for line in tiny.splitlines(keepends=True) if not line.startswith(PARTS)]
    (folder / "tiny.yaml").write_text("".join(head).partition("sweep:")[0] + PAPERS)
    said = call("plan", "tiny.yaml", "--json", "--no-measure")
    assert said.code == 0, said
    found = [(t["point"], t["hidden_patches"]) for t in json.loads(said.out)["trials"]]
    # 12 of 16 patches, and 3 of 4 cells.
    assert found == [({"recipe": "mae"}, 12), ({"recipe": "simmim"}, 12)]
    assert "recipe=simmim" in call("plan", "tiny.yaml", "--no-measure").words


def test_the_schema_knows_every_section(call) -> None:
    said = call("schema")
    assert said.code == 0
    found = json.loads(said.out)
    assert {"study", "data", "masking", "train", "probes", "sweep"} <= set(found["properties"])


def test_list_has_every_kind_and_each_alone(call) -> None:
    found = json.loads(call("list", "--json").out)
    kinds = {"objectives", "targets", "maskings", "schedules", "tokenizers", "recipes"}
    assert set(found) == kinds
    assert {"random", "block"} <= {part["name"] for part in found["maskings"]}
    for kind, parts in found.items():
        assert json.loads(call("list", kind, "--json").out) == {kind: parts}
        text = call("list", kind).words
        for part in parts:
            assert part["name"] in text
            for parameter in part.get("parameters", ()):
                assert f"{parameter['name']} = " in text


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_preset_changes_what_is_shown(call, folder, command: str) -> None:
    with (folder / "tiny.yaml").open("a") as file:
        file.write("presets: {many: {sweep: {seeds: [0, 1]}}}\n")
    options = ["--no-measure"] if command == "plan" else []
    said = call(command, "tiny.yaml", "--preset", "many", "--json", *options)
    trials = json.loads(said.out)["trials"]
    assert (trials if command == "validate" else len(trials)) == 4


SEARCH = """\
sweep:
  axes:
    masking.name: [random, block]
    masking.ratio: {low: 0.3, high: 0.9}
    train.optimizer.base_lr: {low: 1.0e-3, high: 1.0e-2, log: true}
  when:
    - {if: {masking.name: block}, axes: {masking.min_area: {low: 1, high: 8, integer: true}}}
  seeds: [0, 1]
  search: {name: optuna, num_trials: 7, startup_trials: 3, metric: probe/knn/top1}
"""


def test_plan_shows_the_space_of_a_search_instead_of_trials(call, folder, tiny: str) -> None:
    head, _, tail = tiny.partition("sweep:")
    resources = tail[tail.index("resources:") :]
    (folder / "tiny.yaml").write_text(head + SEARCH + resources)
    assert "is sound; 14 trials" in call("validate", "tiny.yaml").out
    said = call("plan", "tiny.yaml", "--no-measure")
    assert said.code == 0, said
    for shown in (
        "tiny: 14 trials, chosen one after the other from this space; the first 6 by chance, each",
        "random, block",
        "0.3 to 0.9",
        "0.001 to 0.01 (log)",
        "1 to 8 (whole)",
        "masking.name=block",
        "14 trials to run",
    ):
        assert shown in said.words
    found = json.loads(call("plan", "tiny.yaml", "--no-measure", "--json").out)
    assert (found["num_trials"], found["to_run"], len(found["trials"])) == (14, 14, 6)
    assert found["trials"][0]["id"] not in said.words
    paths = [(axis["paths"], axis["condition"]) for axis in found["space"]]
    assert paths[2:] == [
        (["train.optimizer.base_lr"], {}),
        (["masking.min_area"], {"masking.name": "block"}),
    ]
