"""The report page in Chromium: small, quick, accessible, filtered by keyboard, whole without a script.

Needs the extra `browser`; and Chromium, in the path or by `playwright install chromium`.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import large_report
import pytest
from chromium import SCHEMES, WIDTHS, broken_rules, first_paint, launched
from test_report import a_report, some_curves, what_was_lost

from limbeck.reports import page

pytestmark = pytest.mark.browser
Json = dict[str, Any]

MOST_BYTES = 5_000_000
MOST_MILLISECONDS = 1000
# What a script of somebody else's would leave behind.
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


def open_all(tab: Any) -> None:
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


def regression() -> Json:
    """A run of one seed whose error rose, with rows that are met worse and better."""
    found = a_report()
    found["metric"] = {"name": "rmse", "higher_is_better": False}
    for arm in found["arms"].values():
        value = 1.5 - arm["mean"]["f1"]
        arm["seeds"] = [{"seed": 0, "metrics": {"rmse": value}}]
        arm |= {"mean": {"rmse": value}, "ci95": {"rmse": [value - 0.02, value + 0.02]}}
    found["verdict"] |= {
        "kept": False,
        "drop": 0.03,
        "reasons": ["the drop is larger than is allowed"],
    }
    score = {"given": "53.2 %", "teacher": "55.0 %", "student": "71.0 %"}
    changed = [
        {"row": 4, "right": "teacher", "text": "a film", "answers": [score]},
        {"row": 5, "right": "student", "text": "a plot", "answers": [score]},
    ]
    found["lost"] = what_was_lost() | {
        "won": None,
        "neither": None,
        "changed": changed,
        "slices": [],
    }
    found["lost"] |= {"slices_looked_at": 0, "label_errors": {"count": 0, "first": []}}
    return found


def hostile() -> Json:
    """Every text of a user's is a tag with a script."""
    found = a_report()
    found["name"] = found["recipe"] = HOSTILE
    found["notes"] = [HOSTILE]
    answer = dict.fromkeys(("given", "teacher", "student", "word"), HOSTILE)
    row = {"row": 1, "right": "teacher", "text": HOSTILE, "file": HOSTILE, "answers": [answer]}
    found["lost"] = what_was_lost() | {"changed": [row]}
    return found


def usual() -> Json:
    return a_report() | {"lost": what_was_lost()}


REPORTS: dict[str, Callable[[], Json]] = {
    "large": large_report.report,
    "usual": usual,
    "regression": regression,
    "hostile": hostile,
}


@pytest.fixture(scope="module")
def found() -> Json:
    """Every report by its name, made once."""
    return {name: make() for name, make in REPORTS.items()}


@pytest.fixture(scope="module")
def files(found: Json, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of every report."""
    folder = tmp_path_factory.mktemp("pages")
    written = {}
    for name, report in found.items():
        curves = large_report.curves() if name == "large" else some_curves()
        written[name] = folder / f"{name}.html"
        written[name].write_text(page.render(copy.deepcopy(report), curves), encoding="utf-8")
    return written


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def show(chromium: Any, files: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Open a page by its report's name; at the end nothing may have been complained of, or asked
    of a network."""
    complaints: list[str] = []
    contexts = []

    def opened(name: str, width: int = 1440, scheme: str = "light", *, script: bool = True) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked(request.url))
        tab.goto(files[name].as_uri())
        return tab

    def asked(url: str) -> None:
        if not url.startswith(("file:", "data:")):
            complaints.append(f"asked for {url}")

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def test_two_hundred_classes_and_ten_thousand_rows_are_a_small_page(
    files: dict[str, Path], found: Json
) -> None:
    assert len(found["large"]["arms"]["joint"]["seeds"][0]["confusion"]["labels"]) == 200
    assert found["large"]["lost"]["rows"] == 10_000
    assert len(found["large"]["lost"]["changed"]) == 750
    assert files["large"].stat().st_size <= MOST_BYTES


@pytest.mark.nightly
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_seen_within_a_second(show: Callable[..., Any], width: int) -> None:
    # Of three: another program may take the cores of one.
    assert min(first_paint(show("large", width)) for _ in range(3)) <= MOST_MILLISECONDS


@pytest.mark.parametrize("name", list(REPORTS))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_stands_in_a_reader_s_way(
    show: Callable[..., Any], name: str, width: int, scheme: str
) -> None:
    """No rule of axe-core is broken, with everything unfolded, and nothing is wider than the page."""
    tab = show(name, width, scheme)
    open_all(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # The rows of one table are alike: axe takes half a minute over 750 of them.
    tab.evaluate(
        "document.querySelectorAll('#changed tbody tr:nth-child(n + 30)').forEach(row => row.remove())"
    )
    assert broken_rules(tab) == []


@pytest.mark.parametrize("name", list(REPORTS))
@pytest.mark.parametrize("width", WIDTHS)
def test_no_picture_is_clipped(show: Callable[..., Any], name: str, width: int) -> None:
    tab = show(name, width)
    open_all(tab)
    outside = tab.evaluate(
        """width => [...document.querySelectorAll('.chart svg text')].map(each => [each, each.getBoundingClientRect()])
        .filter(([each, box]) => box.left < 0 || box.right > width).map(([each]) => each.textContent)""",
        width,
    )
    assert outside == []
    hidden = tab.evaluate(
        "[...document.querySelectorAll('.chart svg')].filter(each => getComputedStyle(each).overflow !== 'visible').length"
    )
    assert hidden == 0


def shown_rows(tab: Any) -> list[int]:
    """The numbers of the rows that are seen."""
    numbers = "[...document.querySelectorAll('#changed tbody tr')].filter(row => row.offsetParent).map(row => +row.cells[0].textContent)"
    found: list[int] = tab.evaluate(numbers)
    return found


def fitting(changed: list[Json], **asked: str) -> list[int]:
    """The numbers of the rows that a filter asks for, from the report."""
    found = []
    for row in changed:
        units = [
            all(
                name in each[key] if isinstance(each[key], list) else name == each[key]
                for key, name in asked.items()
            )
            for each in row["answers"]
        ]
        found += [row["row"]] if any(units) else []
    return found


def test_rows_are_filtered_by_label_answers_and_who_is_right(
    show: Callable[..., Any], found: Json
) -> None:
    changed = found["large"]["lost"]["changed"]
    answer = changed[0]["answers"][0]
    tab = show("large")
    tab.locator("#changed > summary").click()
    everything = [row["row"] for row in changed]
    assert shown_rows(tab) == everything
    output = tab.locator("#filter output")
    assert output.text_content() == "750 of 750 rows"
    # 1. By each name alone, and by all three.
    for key in ("given", "teacher", "student"):
        tab.locator(f"#filter [name={key}]").select_option(label=answer[key])
        expected = fitting(changed, **{key: answer[key]})
        assert 0 < len(expected) < 750 and shown_rows(tab) == expected
        assert output.text_content() == f"{len(expected)} of 750 rows"
        tab.locator("#filter [name=" + key + "]").select_option("")
    for key in ("given", "teacher", "student"):
        tab.locator(f"#filter [name={key}]").select_option(label=answer[key])
    assert shown_rows(tab) == fitting(changed, **answer)
    # 2. All again.
    tab.locator("#filter button").click()
    tab.wait_for_function(
        "document.querySelector('#filter output').textContent === '750 of 750 rows'"
    )
    # 3. By who is right, and by words in any order and case.
    for right in ("teacher", "student", "neither"):
        tab.locator("#filter [name=right]").select_option(right)
        assert shown_rows(tab) == [row["row"] for row in changed if row["right"] == right]
    tab.locator("#filter [name=right]").select_option("")
    text = next(row for row in changed if "file" in row)
    tab.locator("#filter [name=words]").fill(f"  {text['file'].upper()} {answer['given']} ")
    expected_files = [
        row["row"]
        for row in changed
        if f"{text['file']}" in f"{row.get('file')}" and answer["given"] in str(row["answers"])
    ]
    assert shown_rows(tab) == expected_files
    tab.locator("#filter [name=words]").fill("no such words")
    assert shown_rows(tab) == []
    assert output.text_content() == "0 of 750 rows"


def test_one_word_of_a_sentence_must_have_all_that_is_asked(show: Callable[..., Any]) -> None:
    tab = show("usual")
    tab.locator("#changed > summary").click()
    tab.locator("#filter [name=given]").select_option(label="9")
    assert shown_rows(tab) == [7]
    tab.locator("#filter [name=given]").select_option(label="<i>")
    # One of the two labels of a row.
    assert shown_rows(tab) == [9, 10]
    tab.locator("#filter [name=student]").select_option(label="none")
    assert shown_rows(tab) == [9, 10]
    tab.locator("#filter [name=student]").select_option(label="O")
    assert shown_rows(tab) == []


def test_numbers_are_filtered_by_who_is_nearer(show: Callable[..., Any]) -> None:
    tab = show("regression")
    tab.locator("#changed > summary").click()
    assert tab.locator("#filter select").count() == 1
    tab.locator("#filter [name=right]").select_option("student")
    assert shown_rows(tab) == [5]


def test_the_filter_goes_by_the_keyboard(show: Callable[..., Any], found: Json) -> None:
    tab = show("usual", 390)
    focused = "document.activeElement.name || document.activeElement.tagName"

    def until(name: str) -> None:
        for _ in range(60):
            tab.keyboard.press("Tab")
            if tab.evaluate(focused) == name:
                return
        raise AssertionError(f"no tab leads to {name}")

    # 1. Unfold.
    tab.locator("#changed > summary").focus()
    tab.keyboard.press("Enter")
    # 2. A label by its first letter, then a word.
    until("right")
    tab.keyboard.type("neither")
    assert shown_rows(tab) == [9, 10]
    until("words")
    tab.keyboard.type("SCAN")
    tab.keyboard.press("Enter")
    assert shown_rows(tab) == [9]
    # 3. All again, and on to the table, which scrolls.
    until("BUTTON")
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('#filter output').textContent === '4 of 4 rows'")
    until("DIV")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "region"


@pytest.mark.parametrize("name", ["usual", "large"])
def test_every_control_is_reached_by_tab_and_seen(show: Callable[..., Any], name: str) -> None:
    tab = show(name)
    open_all(tab)
    controls = tab.evaluate(
        """(() => { const all = [...document.querySelectorAll('a, summary, select, input, button, [tabindex]')];
        all.forEach((each, i) => each.dataset.control = i); return all.length })()"""
    )
    reached = []
    for _ in range(controls):
        tab.keyboard.press("Tab")
        number, is_ringed = tab.evaluate(
            "[document.activeElement.dataset.control, getComputedStyle(document.activeElement).outlineStyle !== 'none']"
        )
        reached.append(int(number))
        assert is_ringed
    # In the order of the page, none twice.
    assert reached == list(range(controls))


def test_without_a_script_every_row_is_shown(show: Callable[..., Any], found: Json) -> None:
    tab = show("large", script=False)
    tab.locator("#changed > summary").click()
    assert tab.locator("#changed tbody tr:visible").count() == 750
    assert not tab.locator("#filter").is_visible()


def test_thumbnails_are_drawn(show: Callable[..., Any]) -> None:
    tab = show("large")
    tab.locator("#changed > summary").click()
    first = tab.locator("#changed img").first
    first.scroll_into_view_if_needed()
    tab.wait_for_function("document.querySelector('#changed img').naturalWidth === 64")


def test_no_text_of_a_user_runs(show: Callable[..., Any]) -> None:
    tab = show("hostile")
    open_all(tab)
    tab.locator("#filter [name=given]").select_option(label=HOSTILE)
    assert shown_rows(tab) == [1]
    assert tab.evaluate("window.hacked") is None
