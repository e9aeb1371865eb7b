"""Points of a sweep: how many, in which order, and always the same ones."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.spec.expand import expand
from mimlab.spec.points import number_at
from mimlab.spec.sweep import Range


def points(studies, sweep: dict[str, Any], **sections: Any) -> list[dict[str, Any]]:
    return [trial.point for trial in studies.trials(studies.text(sweep=sweep, **sections))]


VALUES: dict[str, list[Any]] = {
    "masking.ratio": [0.25, 0.5, 0.75, 0.9],
    "train.batch_size": [16, 32, 64, 128],
    "train.optimizer.base_lr": [1e-4, 3e-4, 1e-3],
    "objective.decoder_depth": [1, 2],
    "target.norm": ["none", "patch"],
    "data.augment.flip": [0.0, 0.5],
}
AXES = st.fixed_dictionaries(
    {},
    optional={k: st.lists(st.sampled_from(v), min_size=1, unique=True) for k, v in VALUES.items()},
)


@st.composite
def sweeps(draw: st.DrawFn) -> dict[str, Any]:
    axes = draw(AXES)
    by_length: dict[int, list[str]] = {}
    for path, values in axes.items():
        by_length.setdefault(len(values), []).append(path)
    equal = [group for group in by_length.values() if len(group) > 1]
    zipped = draw(st.sampled_from(equal)) if equal and draw(st.booleans()) else None
    exclude = []
    if axes and draw(st.booleans()):
        paths = draw(st.lists(st.sampled_from(sorted(axes)), min_size=1, max_size=2, unique=True))
        exclude = [{path: draw(st.sampled_from(axes[path])) for path in paths}]
    seeds = draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True))
    return {"axes": axes, "zip": [zipped] if zipped else [], "exclude": exclude, "seeds": seeds}


def expected(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination, by brute force: the product, less what zip and exclude forbid."""
    axes = sweep["axes"]
    found = []
    for places in itertools.product(*(range(len(values)) for values in axes.values())):
        place = dict(zip(axes, places, strict=True))
        point = {path: axes[path][i] for path, i in place.items()}
        apart = any(len({place[path] for path in group}) > 1 for group in sweep["zip"])
        out = any(all(point[k] == v for k, v in one.items()) for one in sweep["exclude"])
        if not apart and not out:
            found.append(point)
    return found


@settings(max_examples=25, deadline=None)
@given(sweeps())
def test_expansion_is_the_product_less_what_is_excluded(studies, sweep: dict[str, Any]) -> None:
    text = studies.text(sweep=sweep)
    wanted = expected(sweep)
    if not wanted:
        assert "sweep.exclude: leaves out every point" in studies.refusal(text)
        return
    loaded = studies.load(text)
    trials = expand(loaded)
    assert trials == expand(loaded) == expand(studies.load(text))
    assert [trial.index for trial in trials] == list(range(len(wanted) * len(sweep["seeds"])))
    found = [trial.point for trial in trials[:: len(sweep["seeds"])]]
    assert sorted(map(repr, map(sorted, (p.items() for p in found)))) == sorted(
        map(repr, map(sorted, (p.items() for p in wanted)))
    )
    assert [trial.spec.seed for trial in trials[: len(sweep["seeds"])]] == sweep["seeds"]
    for trial in trials:
        for path, value in trial.point.items():
            assert reached(trial.spec, path) == value


def reached(spec: Any, path: str) -> Any:
    for key in path.split("."):
        spec = getattr(spec, key)
    return spec


def test_the_first_axis_is_the_slowest_and_seeds_are_the_fastest(studies) -> None:
    sweep = {"axes": {"masking.ratio": [0.5, 0.75], "target.norm": ["none", "patch"]}}
    trials = studies.trials(studies.text(sweep=sweep | {"seeds": [3, 1]}))
    assert [trial.label for trial in trials[:5]] == [
        "masking.ratio=0.5, target.norm=none, seed=3",
        "masking.ratio=0.5, target.norm=none, seed=1",
        "masking.ratio=0.5, target.norm=patch, seed=3",
        "masking.ratio=0.5, target.norm=patch, seed=1",
        "masking.ratio=0.75, target.norm=none, seed=3",
    ]


def test_a_study_without_axes_is_one_trial(studies) -> None:
    (trial,) = studies.trials(studies.text())
    assert (trial.point, trial.label) == ({}, "seed=0")


def test_a_name_keeps_the_keys_that_both_share_and_drops_the_others(studies) -> None:
    masking = {"name": "block", "ratio": 0.6, "min_area": 2, "aspect": 0.5}
    sweep = {"axes": {"masking.name": ["block", "random"]}}
    block, random = studies.trials(studies.text(masking=masking, sweep=sweep))
    assert block.spec.masking.model_dump() == masking
    assert random.spec.masking.model_dump() == {"name": "random", "ratio": 0.6}


def test_a_budget_is_replaced_by_another_kind(studies) -> None:
    (trial,) = studies.trials(studies.text(sweep={"axes": {"train.budget.steps": [7]}}))
    assert trial.spec.train.budget.asked == {"steps": 7}


def test_when_gives_an_axis_to_some_points_only(studies) -> None:
    sweep = {
        "axes": {"masking.name": ["random", "block"], "masking.ratio": [0.5, 0.75]},
        "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [1, 2]}}],
    }
    found = points(studies, sweep)
    assert len(found) == 2 + 2 * 2
    assert [p.get("masking.min_area") for p in found] == [None, None, 1, 2, 1, 2]


def test_a_condition_may_list_values_and_follow_another(studies) -> None:
    both = ["block", "block_unrepaired"]
    sweep = {
        "axes": {"masking.name": ["random", *both]},
        "when": [
            {"if": {"masking.name": both}, "axes": {"masking.min_area": [1, 2]}},
            {"if": {"masking.min_area": 2}, "axes": {"masking.aspect": [0.4, 0.5]}},
        ],
    }
    found = points(studies, sweep, objective={"name": "simmim"})
    assert len(found) == 1 + 2 * (1 + 2)


def test_an_axis_may_list_whole_mappings(studies) -> None:
    maskings = [{"name": "random", "ratio": 0.5}, {"name": "block", "ratio": 0.6, "min_area": 2}]
    sweep = {"axes": {"masking": maskings}, "exclude": [{"masking.name": "random"}]}
    assert points(studies, sweep) == [
        {"masking.name": "block", "masking.ratio": 0.6, "masking.min_area": 2}
    ]


@pytest.mark.parametrize(
    ("sweep", "word", "sentence"),
    [
        (
            {"axes": {"masking.ratoi": [0.5]}},
            "ratoi:",
            "masking.ratoi: unknown key; did you mean `ratio`? The keys here are name, ratio",
        ),
        (
            {"axes": {"train.optimzer.base_lr": [0.5]}},
            "optimzer",
            "train.optimzer: unknown key; did you mean `optimizer`?",
        ),
        (
            {"axes": {"trian.batch_size": [1]}},
            "trian",
            "unknown key; did you mean `train`? An axis varies recipe, data, backbone, "
            "objective, target, masking, train, probes",
        ),
        (
            {"axes": {"resources.workers": [1, 2]}},
            "resources.workers",
            "`resources` is the same for every trial; an axis varies recipe, data, backbone,",
        ),
        ({"axes": {"seed": [1, 2]}}, "seed:", "seeds are no axis; list them under `sweep.seeds`"),
        (
            {"axes": {"masking.ratio.low": [0.5]}},
            "ratio.low",
            "`masking.ratio` is a value, so nothing lies below it",
        ),
        ({"axes": {"masking.ratio": [0.53, 0.53]}}, None, "masking.ratio.1: 0.53 is listed twice"),
        (
            {"axes": {"masking.ratio": {"low": 0.31, "high": 0.6}}},
            "masking.ratio",
            "a continuous axis needs `search: {name: random, num_trials: …}`; a grid takes a list",
        ),
        (
            {"axes": {"masking.min_area": [2]}},
            "masking.min_area",
            "masking.min_area: belongs to block, block_unrepaired, ",
        ),
        ({"axes": {"masking.ratio": [0.5, 1.0]}}, "- 1.0", "masking.ratio: should be less than 1"),
        (
            {"axes": {"masking.name": ["random", "blok"]}},
            "- blok",
            "masking.name: no masking is called 'blok'; did you mean `block`?",
        ),
        (
            {"axes": {"masking.name": ["block"]}, "exclude": [{"masking.nmae": "block"}]},
            "masking.nmae",
            "`masking.nmae` is no axis; did you mean `masking.name`? The axes are `masking.name`",
        ),
        (
            {"axes": {"masking.name": ["block", "random"]}, "exclude": [{"masking.name": "blok"}]},
            "masking.name: blok",
            "is never blok; it is block, random",
        ),
        (
            {
                "axes": {"masking.name": ["block", "random"]},
                "when": [{"if": {"masking.name": "blok"}, "axes": {"masking.min_area": [1]}}],
            },
            "masking.name: blok",
            "is never blok; it is block, random",
        ),
        (
            {
                "axes": {"masking.ratio": [0.5]},
                "when": [{"if": {"masking.ratio": 0.5}, "axes": {"masking.ratio": [0.66]}}],
            },
            None,
            "is an axis of every point already; take it out of one of the two",
        ),
        (
            {
                "when": [
                    {"if": {"masking.name": "random"}, "axes": {"masking.ratio": [0.5]}},
                    {"if": {"masking.ratio": 0.5}, "axes": {"masking.ratio": [0.6]}},
                ],
            },
            None,
            "`masking.ratio` is set by two axes at once; make their conditions exclusive",
        ),
        (
            {"axes": {"masking.ratio": [0.5]}, "exclude": [{"masking.ratio": 0.5}]},
            "exclude",
            "leaves out every point",
        ),
        (
            {"axes": {"train.log_every": [1, 2]}},
            "axes",
            "(train.log_every=1, seed=0) and (train.log_every=2, seed=0) are the same trial: what "
            "differs between them changes no result",
        ),
    ],
)
def test_a_wrong_sweep_is_refused_with_its_line(
    studies, sweep: dict[str, Any], word: str | None, sentence: str
) -> None:
    text = studies.text(sweep=sweep)
    message = studies.refusal(text)
    assert sentence in message
    if word is not None:
        assert message.startswith(f"{studies.line(text, word)}: ")


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (
            ["masking.ratio", "train.batch_size"],
            "axes that vary together need equally many values; `masking.ratio` has 2, "
            "`train.batch_size` has 3",
        ),
        (
            ["masking.ratio", "train.batchsize"],
            "`train.batchsize` is no axis; did you mean `train.batch_size`?",
        ),
        (["masking.ratio"], "one axis varies alone; a group names two or more"),
    ],
)
def test_a_group_that_cannot_vary_together(studies, group: list[str], sentence: str) -> None:
    axes = {"masking.ratio": [0.5, 0.75], "train.batch_size": [16, 32, 64]}
    assert f"sweep.zip.0: {sentence}" in studies.refusal(
        studies.text(sweep={"axes": axes, "zip": [group]})
    )


def test_a_missing_parameter_is_missed_at_the_value_that_needs_it(studies) -> None:
    """`data` as a whole needs an image size; the line is that of the value that leaves it out."""
    data = [{"images": "digits", "image_size": 16}, {"images": "digits"}]
    text = studies.text(sweep={"axes": {"data": data}})
    message = studies.refusal(text)
    assert "data.image_size: is missing and has no default" in message
    assert message.startswith(f"study.yaml:{len(text.splitlines())}: ")


def test_a_problem_that_two_axes_make_names_the_point(studies) -> None:
    sweep = {"axes": {"train.budget.epochs": [5, 50]}}
    train = {"budget": {"epochs": 20}, "batch_size": 64, "warmup_epochs": 8}
    text = studies.text(train=train, sweep=sweep)
    assert studies.refusal(text) == (
        f"{studies.line(text, 'warmup')}: train.warmup_epochs: warms up for 8 of 5 epochs; it must "
        "be shorter than the budget (at train.budget.epochs=5)"
    )


def test_too_many_points_are_refused_before_they_are_made(studies) -> None:
    paths = ["data.image_size", "train.batch_size", "train.log_every", "backbone.embed_dim"]
    message = studies.refusal(studies.text(sweep={"axes": {path: [*range(100)] for path in paths}}))
    assert "sweep.axes: give 100000000 points, more than 10000; list fewer values" in message


RANDOM = {
    "axes": {
        "masking.name": ["random", "block"],
        "train.optimizer.base_lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "masking.ratio": {"low": 0.4, "high": 0.8},
    },
    "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [1, 2, 3]}}],
    "search": {"name": "random", "num_trials": 40, "seed": 3},
}


def test_a_random_search_draws_the_same_points_for_the_same_seed(studies) -> None:
    found = points(studies, RANDOM)
    assert found == points(studies, RANDOM)
    assert len(found) == 40
    again = RANDOM | {"search": {"name": "random", "num_trials": 40, "seed": 4}}
    assert found != points(studies, again)
    assert found[:10] == points(
        studies, RANDOM | {"search": {"name": "random", "num_trials": 10, "seed": 3}}
    )


def test_random_points_fill_their_axes(studies) -> None:
    found = points(studies, RANDOM)
    rates = [point["train.optimizer.base_lr"] for point in found]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    assert 10 < sum(rate < 10**-3.5 for rate in rates) < 30  # the middle of the logarithm
    assert all(0.4 <= point["masking.ratio"] <= 0.8 for point in found)
    blocks = [point for point in found if point["masking.name"] == "block"]
    assert 8 < len(blocks) < 32
    assert {point["masking.min_area"] for point in blocks} == {1, 2, 3}
    assert all("masking.min_area" not in p for p in found if p["masking.name"] == "random")


def test_a_random_search_of_a_small_space_gives_each_point_once(studies) -> None:
    sweep = {
        "axes": {"masking.ratio": [0.5, 0.75], "target.norm": ["none", "patch"]},
        "exclude": [{"masking.ratio": 0.5, "target.norm": "none"}],
        "search": {"name": "random", "num_trials": 3},
    }
    found = points(studies, sweep)
    assert len({str(point) for point in found}) == 3
    assert {"masking.ratio": 0.5, "target.norm": "none"} not in found
    text = studies.text(sweep=sweep | {"search": {"name": "random", "num_trials": 4}})
    assert studies.refusal(text) == (
        f"{studies.line(text, 'num_trials')}: sweep.search.num_trials: asks for 4 points, but only "
        "3 different ones were found; lower it, or use `search: {name: grid}`"
    )


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e4), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_a_range_is_never_left(low: float, factor: float, log: bool, share: float) -> None:
    axis = Range(low=low, high=low * factor, log=log)
    assert axis.low <= number_at(axis, share) <= axis.high
