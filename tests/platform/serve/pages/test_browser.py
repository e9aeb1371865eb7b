"""The pages in a real browser, over a storage that drivers and workers have written to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from mimlab.serve.fork_changes import without_seed
from mimlab.serve.identity.users import Users
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.records import EntryState, Need, QueueEntry
from mimlab.serve.reading.yaml_text import yaml_lines
from mimlab.storage.exclusive import Exclusive
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store
from one_machine.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser]
WAIT_MS = 180_000
"""The first check of a study loads every part of the science, on a machine that may be busy."""
SUBMISSION = "ratio-20260115-101500"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, storage_at: Any) -> Any:
    """Four trials, one of which stopped, and one that nobody runs any more."""
    storage = storage_at(tmp_path_factory.mktemp("serve") / "runs")
    trials = [storage.trial(n, r) for n in ("random", "block") for r in (0.5, 0.75)]
    submission = storage.submission(SUBMISSION, trials)
    scores = (0.54, 0.5, 0.52, 0.56)
    for i, trial in enumerate(trials):
        storage.owner(trial, submission)
        storage.points(trial, [3.0 / step for step in range(1, 40)])
        storage.board(trial, 100, (200, 40 * i, 60))
        storage.board(trial, 200, (20, 40 * i, 160))
        storage.checkpoint(trial, 200)
        storage.probe(trial, 200, scores[i])
        storage.status(trial, "finished", 400, 400)
    storage.status(trials[2], "stopped", 200, 400, reason="asked to")
    storage.status(trials[3], "running", 200, 400)
    return storage


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str], written: Any) -> str:
    return serve(written.store.root)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Fails the test where the page says an error on its console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    said: list[str] = []
    opened.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert said == []


def test_the_list_leads_to_a_submission_and_a_trial(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name=SUBMISSION).click()
    page.wait_for_url(f"**/submissions/{SUBMISSION}")
    page.get_by_role("link", name="block 0.75 · seed 0").wait_for()
    expect(page.locator("td .state-lost")).to_have_text("lost")
    page.get_by_role("link", name="block 0.5 · seed 0").click()
    page.get_by_text("asked to").wait_for()
    expect(page.locator(".differs")).to_have_text(['name: "block"', "ratio: 0.5"])


def test_sorting_and_filtering_by_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/submissions/{SUBMISSION}")
    page.get_by_label("Filter").fill("block")
    page.get_by_text("random 0.5 · seed 0").wait_for(state="hidden")
    page.get_by_label("Filter").fill("blocks")
    page.get_by_text("Nothing matches the filter.").wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_text("random 0.5 · seed 0").wait_for()
    head = page.get_by_role("columnheader", name="knn")
    sorts(page, head, lambda: head.press("Enter"), ["50.00", "52.00", "54.00", "56.00"])
    expect(head).to_have_attribute("aria-sort", "ascending")
    sorts(page, head, lambda: head.press("Space"), ["56.00", "54.00", "52.00", "50.00"])
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(head).to_be_focused()


def sorts(page: Page, head: Locator, act: Callable[[], None], cells: list[str]) -> None:
    """The column of `head` shows `cells` soon after `act`, and did not before it."""
    place = head.evaluate("e => e.cellIndex + 1")
    column = page.locator(f"tbody tr td:nth-child({place})")
    assert column.all_inner_texts() != cells
    act()
    expect(column).to_have_text(cells)


def test_scores_are_sorted_as_numbers(page: Page, serve: Callable, storage_at: Any, tmp_path):
    storage = storage_at(tmp_path / "runs")
    trials = [storage.trial(seed=seed) for seed in range(3)]
    submission = storage.submission(SUBMISSION, trials)
    for trial, score in zip(trials, (0.095, 1.0, 0.8719), strict=True):
        storage.owner(trial, submission)
        storage.probe(trial, 10, score)
        storage.status(trial, "finished", 10, 10)
    page.goto(f"{serve(storage.store.root)}/submissions/{SUBMISSION}")
    page.get_by_text("100.00").wait_for()
    head = page.get_by_role("columnheader", name="knn")
    sorts(page, head, head.click, ["9.50", "87.19", "100.00"])


def test_hours_and_times_are_sorted_as_numbers(
    page: Page, serve: Callable, storage_at: Any, tmp_path
) -> None:
    storage = storage_at(tmp_path / "runs")
    # At the 640 images/s of their points: 10 steps in a second, by 2 workers of 3 cores.
    for name, hours, left_s in (("a", 9, 600), ("b", 10, 45), ("c", 1, 9_000)):
        trial, step = storage.trial(name), hours * 6_000
        submission = storage.submission(f"{name}-20260115-101500", [trial])
        storage.owner(trial, submission)
        storage.lease(submission)
        storage.points(trial, [1.0], first_step=step)
        storage.status(trial, "running", step, step + 10 * left_s, images_per_s=640.0)
    page.goto(serve(storage.store.root))
    page.get_by_text("10 CPU h").wait_for()
    head = page.get_by_role("columnheader", name="device hours")
    sorts(page, head, head.click, ["1 CPU h", "9 CPU h", "10 CPU h"])
    head = page.get_by_role("columnheader", name="time left")
    sorts(page, head, head.click, ["45 s", "10 min 00 s", "2 h 30 min"])


def test_whoever_has_a_token_logs_in_and_out(
    page: Page, serve: Callable, storage_at: Any, tmp_path
):
    storage = storage_at(tmp_path / "runs")
    storage.submission(SUBMISSION, [storage.trial()])
    token = Users(storage.store).add("ada", "viewer")
    address = serve(storage.store.root)
    page.goto(address)
    page.wait_for_url("**/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=SUBMISSION).click()
    page.get_by_role("button", name="Stop").press("Enter")
    page.get_by_text("you are a viewer").first.wait_for()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{address}/submissions/{SUBMISSION}")
    page.wait_for_url("**/login")


def test_curves_comparison_and_boards(page: Page, address: str) -> None:
    page.goto(f"{address}/submissions/{SUBMISSION}?tab=Curves")
    page.locator(".scatterlayer .trace").nth(3).wait_for()
    page.get_by_role("tab", name="Comparison").click()
    page.locator(".heatmap-label text", has_text="56.0").wait_for()
    page.get_by_role("tab", name="Boards").click()
    last = page.locator("figure img").first
    expect(last).to_have_attribute("src", re.compile("/200$"))
    page.locator(".q-slider__track-container").press("ArrowLeft")  # what the Tab key reaches
    page.locator('figure img[src$="/100"]').nth(3).wait_for()
    assert last.evaluate("e => e.decode().then(() => e.naturalWidth)") == 96


def test_the_first_fifty_of_hundreds_of_trials_are_drawn(
    page: Page, serve: Callable, storage_at: Any, tmp_path
) -> None:
    storage = storage_at(tmp_path / "runs")
    trials = [storage.trial("random", seed / 1000) for seed in range(501)]
    storage.submission(SUBMISSION, trials)
    storage.submission("empty-20260115-101501", [])
    for trial in (trials[0], trials[49], trials[50]):
        storage.points(trial, [3.0 / step for step in range(1, 40)])
    address = serve(storage.store.root)
    page.goto(f"{address}/submissions/{SUBMISSION}?tab=Curves")
    page.get_by_text("451 more trials are not drawn: choose some cells").wait_for()
    expect(page.locator(".scatterlayer .trace")).to_have_count(2)
    page.goto(f"{address}/submissions/empty-20260115-101501?tab=Curves")
    page.get_by_text("No curves yet").wait_for()


def test_a_page_follows_what_is_written(page: Page, address: str, written: Any) -> None:
    page.goto(f"{address}/submissions/{SUBMISSION}")
    page.get_by_text("asked to").wait_for()
    link = page.get_by_role("link", name="block 0.5 · seed 0")
    link.focus()
    trial = written.trial("block", 0.5)
    written.status(trial, "failed", 250, 400, reason="the disk burned")
    page.get_by_text("the disk burned").wait_for()
    page.locator(".state-failed").first.wait_for()
    expect(link).to_be_focused()
    link.press("Enter")
    button = page.get_by_role("button", name="Resume")
    button.focus()
    written.status(trial, "stopped", 200, 400, reason="asked to")
    page.get_by_text("asked to").wait_for()
    expect(button).to_be_focused()


def test_news_leave_the_rest_of_a_page_in_place(
    page: Page, serve: Callable, storage_at: Any, tmp_path: Path
) -> None:
    storage = storage_at(tmp_path / "runs")
    first, second = storage.trial(seed=0), storage.trial(seed=1)
    submission = storage.submission(SUBMISSION, [first, second])
    for trial in (first, second):
        storage.owner(trial, submission)
        storage.board(trial, 100, (200, 40, 60))
        storage.status(trial, "finished", 100, 400)
    storage.points(first, [3.0, 2.0])
    storage.mlflow(first, f"http://127.0.0.1:{free_port()}")
    address = serve(storage.store.root)

    page.goto(f"{address}/trials/{first.id}")
    page.get_by_text("is kept, and sent when it is back").wait_for()
    link = page.get_by_role("link", name="its run")
    link.focus()
    curve = page.locator(".js-plotly-plot").first
    curve.locator(".main-svg").first.wait_for()
    drawn = curve.element_handle()
    storage.points(first, [1.0, 0.5], first_step=30)
    storage.status(first, "finished", 200, 400)
    page.get_by_text("200 of 400").wait_for()
    page.wait_for_function("e => e.data[0].x.length === 4", arg=drawn)
    assert drawn.evaluate("e => e.isConnected")
    expect(link).to_be_focused()

    page.goto(f"{address}/submissions/{SUBMISSION}?tab=Boards")
    link = page.get_by_role("link", name="seed 0")
    link.focus()
    storage.board(second, 200, (20, 40, 160))
    page.locator('figure img[src$="/200"]').wait_for()
    expect(link).to_be_focused()


def test_a_button_that_may_not_be_pressed_says_why(page: Page, address: str) -> None:
    page.goto(f"{address}/trials/random-0.5-0")
    button = page.get_by_role("button", name="Resume")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.press("Enter")
    page.get_by_text("nothing of it is left to do").wait_for()


def test_a_study_is_checked_as_one_types(page: Page, address: str) -> None:
    page.goto(f"{address}/submit")
    page.get_by_text("sound, 2 trials").wait_for()
    page.locator(".cm-line", has_text="batch_size").click()
    page.keyboard.press("End")
    page.keyboard.type("x")
    page.get_by_text("line 10").wait_for()
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()


def test_what_was_typed_outlives_a_page_that_loads_itself_anew(page: Page, address: str) -> None:
    page.goto(f"{address}/submit")
    page.get_by_text("sound, 2 trials").wait_for()
    line = page.locator(".cm-line", has_text="batch_size")
    line.click()
    page.keyboard.press("End")
    page.keyboard.type("x")
    page.get_by_text("line 10").wait_for()
    page.reload()
    expect(line).to_have_text("  batch_size: 128x")
    page.get_by_text("line 10").wait_for()
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("link", name="Submit").click()
    page.get_by_text("sound, 2 trials").wait_for()


def test_a_file_takes_the_place_of_the_text_and_another_one_takes_its(
    page: Page, address: str, tmp_path: Path
) -> None:
    page.goto(f"{address}/submit")
    page.get_by_text("sound, 2 trials").wait_for()
    text = page.get_by_role("textbox", name="Study")
    for name in ("first", "second"):
        file = tmp_path / f"{name}.yaml"
        file.write_text(f"study: {name}\nobjectiv: mae\n")
        page.get_by_label("Drop a study file here, or choose one").set_input_files(file)
        expect(text).to_contain_text(f"study: {name}")
        page.get_by_text("line 2: objectiv").wait_for()
    text.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Preset, if any")).to_be_focused()
    with page.expect_file_chooser():
        page.get_by_role("button", name="Choose a study file").press("Enter")


def test_the_page_of_what_has_not_begun_turns_into_the_submission_s_own(
    page: Page, address: str, written: Any
) -> None:
    submission = "late-20260115-101501"
    page.goto(f"{address}/submissions/{submission}")
    page.get_by_text(f"there is no submission '{submission}'").wait_for()
    queue(written, submission, "withdrawn")
    page.goto(f"{address}/submissions/{submission}")
    page.get_by_text("It was taken out of the queue").wait_for()
    written.submission(submission, [written.trial("random", 0.5)])
    page.get_by_role("link", name="random 0.5 · seed 0").wait_for()


def test_what_has_started_is_shown_while_ray_is_away(
    page: Page, serve: Callable, storage_at: Any, tmp_path: Path
) -> None:
    storage, submission = storage_at(tmp_path / "runs"), "begun-20260115-101501"
    queue(storage, submission, "started")
    address = serve(storage.store.root, "--address", f"http://127.0.0.1:{free_port()}")
    page.goto(f"{address}/submissions/{submission}")
    page.get_by_text("no Ray dashboard answers there").wait_for()
    expect(page.get_by_text("Its driver starts.")).to_be_visible()
    expect(page.locator("header")).to_have_count(1)
    storage.submission(submission, [storage.trial("random", 0.5)])
    page.get_by_role("link", name="random 0.5 · seed 0").wait_for()


TWICE = "e => {e.click(); e.click()}"
PASTE = """(text, [pasted, button]) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", pasted);
  text.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
  button.click();
}"""
"""The editor takes it at once, so that nothing has checked it when the button is pressed."""


def held(root: Path) -> Store:
    """A storage whose queue this process holds: the dashboard lets everything wait."""
    store = Store(root)
    assert Exclusive(store, "queue-lease").take(None) is not None
    return store


def test_a_study_that_is_submitted_by_a_double_press_is_one_submission(
    page: Page, serve: Callable, tmp_path: Path
) -> None:
    store = held(tmp_path / "runs")
    page.goto(f"{serve(store.root)}/submit")
    page.get_by_text("sound, 2 trials").wait_for()
    page.get_by_role("button", name="Submit", exact=True).evaluate(TWICE)
    page.wait_for_url("**/submissions/ratios-*")
    page.get_by_text("It waits in the queue").wait_for()
    assert len(Queue(store).entries()) == 1


def test_a_double_press_asks_once(page: Page, address: str) -> None:
    for verb in ("Fork", "Extend"):
        page.goto(f"{address}/trials/random-0.5-0")
        button = page.get_by_role("button", name=verb)
        button.evaluate(TWICE)
        dialog = page.get_by_role("dialog", name=verb)
        leave = dialog.get_by_role("button", name="Leave it")
        leave.last.click()
        expect(dialog).to_have_count(0)
        button.click()
        leave.wait_for()


def test_a_fork_has_what_was_typed_last(
    page: Page, serve: Callable, storage_at: Any, create_tiny: Callable, tmp_path: Path
) -> None:
    store = held(tmp_path / "runs")
    made = create_tiny(tmp_path, f"storage={store.root}")
    storage_at(store.root).checkpoint(made.trial.record(), 12)
    lines = [line for _, line in yaml_lines(made.trial.record().resolved)]
    configuration = without_seed("\n".join(lines) + "\n")
    page.goto(f"{serve(store.root)}/trials/{made.trial.id}")
    page.get_by_role("button", name="Fork").click()
    dialog = page.get_by_role("dialog", name="Fork")
    text = dialog.get_by_role("textbox", name="Configuration of the fork")
    fork = dialog.get_by_role("button", name="Fork")

    def type_and_press(ratio: str) -> None:
        text.press("Control+a")
        edited = configuration.replace("ratio: 0.75", f"ratio: {ratio}")
        text.evaluate(PASTE, [edited, fork.element_handle()])

    type_and_press("0.6")  # nothing has been changed before, so that it cannot be pressed yet
    dialog.get_by_text("changes: masking.ratio=0.6").wait_for()
    expect(fork).to_be_enabled()
    type_and_press("7")
    dialog.get_by_text("masking.ratio: ").wait_for()
    expect(fork).to_be_disabled()
    assert Queue(store).entries() == []
    type_and_press("0.7")
    dialog.get_by_text("changes: masking.ratio=0.7").wait_for()
    expect(fork).to_be_enabled()
    type_and_press("0.8")
    page.wait_for_url("**/submissions/*")
    (entry,) = Queue(store).entries()
    (record,) = SubmissionFolder(store, entry.submission).trial_records()
    assert record.resolved["masking"]["ratio"] == 0.8


def test_only_what_was_chosen_leaves_the_queue(
    page: Page, serve: Callable, storage_at: Any, tmp_path: Path
) -> None:
    store = held(tmp_path / "runs")
    names = [f"{name}-20260115-101501" for name in ("first", "second", "third")]
    for i, name in enumerate(names):
        queue(storage_at(store.root), name, "waiting", i + 1)
    page.goto(f"{serve(store.root)}/queue")
    which = page.get_by_label("What waits")
    withdraw = page.get_by_role("button", name="Withdraw")
    prioritise = page.get_by_role("button", name="Set priority")

    def choose(number: int) -> None:
        which.click()
        page.get_by_role("option", name=names[number - 1]).click()
        expect(withdraw).to_be_enabled()
        expect(prioritise).to_be_enabled()

    expect(withdraw).to_be_disabled()
    choose(2)
    Queue(store).withdraw(2)
    expect(withdraw).to_be_disabled()
    expect(prioritise).to_be_disabled()
    choose(3)
    withdraw.evaluate(TWICE)
    dialog = page.get_by_role("dialog", name="Withdraw")
    dialog.get_by_text(f"Take {names[2]}, number 3, out of the queue?").wait_for()
    dialog.get_by_role("button", name="Withdraw").click()
    page.get_by_text(f"{names[2]} is out of the queue.").wait_for()
    expect(dialog).to_have_count(0)
    expect(withdraw).to_be_disabled()
    choose(1)
    page.get_by_label("Priority").fill("5")
    prioritise.click()
    page.get_by_text(f"{names[0]} has priority 5.").wait_for()
    left = {entry.number: (entry.state, entry.priority) for entry in Queue(store).entries()}
    assert left == {1: ("waiting", 5), 2: ("withdrawn", 0), 3: ("withdrawn", 0)}


def queue(storage: Any, submission: str, state: EntryState, number: int = 1) -> None:
    """Write what the queue knows of a submission that has no folder yet."""
    entry = QueueEntry(
        number=number,
        submission=submission,
        user="ada",
        words=[],
        has_code=False,
        need=Need(gpus=0, cpus=1),
        state=state,
        queued="2026-01-15T10:15:01Z",
    )
    storage.store.write_record(f"queue/{number:09d}.json", entry)


def test_what_is_not_there_is_said(page: Page, address: str) -> None:
    page.goto(f"{address}/submissions/nothing")
    page.get_by_text("there is no submission 'nothing'").wait_for()
    page.goto(f"{address}/trials/nothing")
    page.get_by_role("alert").wait_for()


PATHS = (
    "/",
    *(f"/submissions/{SUBMISSION}?tab={tab}" for tab in ("Trials", "Curves", "Comparison")),
    *(f"/submissions/{SUBMISSION}?tab={tab}" for tab in ("Boards", "Study")),
    "/trials/block-0.5-0",
    "/submit",
    "/queue",
    "/login",
)
NOT_OURS = {("scrollable-region-focusable", ".cm-scroller")}
"""CodeMirror's text scrolls with its cursor, which axe does not know."""
OF_DIALOGS = {"color-contrast": {"enabled": False}}
"""axe takes the ground behind a dialog for that of its text; their colours are those of pages."""
LOOKS = 6
"""Before a barrier is believed: what fades in is pale at first."""


@pytest.mark.parametrize(("width", "look"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_no_page_scrolls_sideways_and_axe_finds_no_barrier(
    browser: Browser, address: str, width: int, look: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=look)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    for path in PATHS:
        page.goto(f"{address}{path}")
        page.locator("main h1").wait_for()
        assert barriers(page) == set(), path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    for verb in ("Fork", "Extend"):
        page.goto(f"{address}/trials/random-0.5-0")
        page.get_by_role("button", name=verb).press("Enter")
        page.get_by_role("dialog", name=verb).get_by_role("button", name=verb).wait_for()
        assert barriers(page, {"rules": OF_DIALOGS}) == set(), verb
    context.close()


def barriers(page: Page, options: dict[str, Any] | None = None) -> set[tuple[str, str]]:
    """Rules that a page breaks, once it has come to rest, and what breaks them."""
    found: set[tuple[str, str]] = set()
    for _ in range(LOOKS):
        page.wait_for_timeout(1500)
        broken = Axe().run(page, options=options).response["violations"]
        found = {(r["id"], at) for r in broken for node in r["nodes"] for at in node["target"]}
        if found <= NOT_OURS:
            return set()
    return found


def test_the_keyboard_reaches_the_content_first_and_sees_where_it_is(
    page: Page, address: str
) -> None:
    page.goto(address)
    page.get_by_role("link", name=SUBMISSION).wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main .page")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Filter")).to_be_focused()


def test_light_and_dark_are_remembered(page: Page, address: str) -> None:
    page.emulate_media(color_scheme="light")
    body = page.locator("body")
    for now, look in (("dark", "dark"), ("light", "light"), ("as the system", "light")):
        page.goto(address)
        page.get_by_role("button", name="Colours").press("Enter")
        page.get_by_role("button", name=f"Colours: {now}").wait_for()
        expect(body).to_have_class(re.compile(f"body--{look}"))
        page.goto(f"{address}/queue")
        page.get_by_role("button", name=f"Colours: {now}").wait_for()
        expect(body).to_have_class(re.compile(f"body--{look}"))
    page.goto(address)
    leave_at_once = "e => {e.click(); location = '/queue'}"
    page.get_by_role("button", name="Colours").evaluate(leave_at_once)
    page.wait_for_url("**/queue")
    page.get_by_role("button", name="Colours: dark").wait_for()


def test_an_empty_dashboard_says_what_to_do(
    page: Page, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    page.goto(serve(tmp_path))
    page.get_by_text("Nothing has been submitted yet").wait_for()
    page.get_by_role("link", name="Submit a study").click()
    page.wait_for_url("**/submit")
