"""The pages of a running server in Chromium: quick, accessible, by keyboard, and true of the request.

Needs the extra `browser`.
"""

import ast
import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import SCHEMES, WIDTHS, broken_rules, first_paint, launched
from made import install_products, write_model
from PIL import Image
from served import Served, serving

from limbeck.evaluation.decisions.decision import Decision

pytest.importorskip("granian")
pytestmark = pytest.mark.browser

MOST_MILLISECONDS = 1000
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
KEY = "a" * 24
TEXT = 'It\'s Ada in "New York", \\ $HOME `id` !! 😀 '
MANY = [f"label {number}" for number in range(30)]
DECISION = Decision(
    likelihood="categorical", promise={"threshold": 0.999999}, sets={"least_probability": 0.3}
)
# What Chromium itself says of every answer that is a refusal, and of what a policy forbids.
OF_CHROMIUM = ("Failed to load resource", "This document requires 'Trusted")
MODELS: dict[str, dict[str, Any]] = {
    "intents": {"name": "text-classification", "decision": DECISION},
    "many": {"name": "text-classification", "labels": MANY},
    "hostile": {"name": "text-classification", "labels": [HOSTILE, "'\"><b>b</b>", "__proto__"]},
    "several": {"name": "multi-label-classification"},
    "tags": {"name": "token-classification"},
    "pictures": {"name": "image-classification"},
    "score": {"name": "text-regression"},
    "vectors": {"name": "sentence-embedding"},
    "hidden": {"name": "masked-lm"},
}
TEXTS = {"hidden": "Ada lives in [MASK] York ."}
Show = Callable[..., Any]


@pytest.fixture(autouse=True, scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        install_products(tmp_path_factory.mktemp("runtime") / "site", patch)
        yield


@pytest.fixture(scope="module")
def folder(runtime: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every model by its name."""
    found = tmp_path_factory.mktemp("models")
    for name, kind in MODELS.items():
        write_model(found / name, **kind)
    return found


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder / "own", *(f"{name}={folder / name}" for name in MODELS)) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Served]:
    """A server of one model that needs a token, and lets three requests in at once."""
    tokens = folder / "tokens"
    tokens.write_text(f"me {KEY}\n")
    config = folder / "serve.yaml"
    config.write_text("limits: {rate: 0.2, burst: 3}\n")
    arguments = (f"tags={folder / 'tags'}", "--tokens", str(tokens), "--config", str(config))
    with serving(folder / "guarded", *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    """Open an address of a server; at the end nothing may have been complained of, asked of another
    address, or run that a user wrote."""
    complaints: list[str] = []
    contexts = []
    tabs = []

    def opened(server: Served, path: str, width: int = 1440, scheme: str = "light") -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        tab = context.new_page()
        tabs.append(tab)
        own = f"http://127.0.0.1:{server.port}/"
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.on("request", lambda request: asked(request.url, own))
        tab.goto(own + path)
        return tab

    def asked(url: str, own: str) -> None:
        if not url.startswith((own, "data:", "blob:")):
            complaints.append(f"asked for {url}")

    yield opened
    for tab in tabs:
        assert tab.evaluate("window.hacked") is None
    for context in contexts:
        context.close()
    assert [each for each in complaints if not each.startswith(OF_CHROMIUM)] == []


def ask(tab: Any, text: str) -> Any:
    """Type a text and press Enter; the answer that the server gave to it."""
    tab.wait_for_selector("#trying:not([hidden])")
    tab.fill("#text", text)
    with tab.expect_response(lambda answer: "/predict/" in answer.url) as caught:
        tab.press("#text", "Enter")
    tab.wait_for_selector("#answer:not([hidden]), #refused:not([hidden])")
    return caught.value.json()


def picture(size: tuple[int, int] = (5, 6)) -> bytes:
    width, height = size
    pixels = np.random.default_rng(3).integers(0, 256, (height, width), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def choose(tab: Any, content: bytes, name: str = "it's a picture.png") -> None:
    tab.wait_for_selector("#trying:not([hidden])")
    tab.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    tab.wait_for_selector("#answer:not([hidden]), #refused:not([hidden])")


def shown_bars(tab: Any) -> list[tuple[str, str]]:
    """The labels and shares that are seen."""
    rows = tab.locator(".bars li")
    return [
        (each.locator(".label").text_content().removesuffix(" ✓"), each.locator(".value").text_content())
        for each in rows.all()
    ]  # fmt: skip


def run(command: list[str], folder: Path) -> Any:
    """What a line of a page prints, as JSON."""
    environment = os.environ | {"TOKEN": KEY}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=True, timeout=60
    )
    return done.stdout


def same_by_every_line(tab: Any, answer: Any, folder: Path) -> None:
    """The lines that a page shows give the answer that it shows."""
    line = tab.locator("#line-curl").text_content()
    assert json.loads(run(["sh", "-c", line], folder)) == answer
    python = run([sys.executable, "-c", tab.locator("#line-Python").text_content()], folder)
    assert ast.literal_eval(python) == answer
    if node := shutil.which("node"):
        script = tab.locator("#line-JavaScript").text_content()
        told = run([node, "--input-type=module", "-e", script], folder)
        assert json.loads(told) == answer


@pytest.mark.parametrize("name", [*MODELS, "", "status", "docs"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_stands_in_a_reader_s_way(
    served: Served, show: Show, name: str, width: int, scheme: str
) -> None:
    """No rule of axe-core is broken, and nothing is wider than the page."""
    if name in MODELS:
        tab = show(served, f"models/{name}", width, scheme)
        if name == "pictures":
            choose(tab, picture())
        else:
            ask(tab, TEXTS.get(name, TEXT))
        assert tab.locator("#refused").is_hidden()
    else:
        tab = show(served, name, width, scheme)
        tab.wait_for_selector({"": "#models li", "status": "#facts div", "docs": "details"}[name])
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert broken_rules(tab) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*(f"models/{name}" for name in MODELS), "", "status", "docs"])
def test_it_is_seen_within_a_second(served: Served, show: Show, name: str) -> None:
    # Of three: another program may take the cores of one.
    assert min(first_paint(show(served, name)) for _ in range(3)) <= MOST_MILLISECONDS


def test_a_text_is_asked_and_the_lines_do_the_same(
    served: Served, show: Show, tmp_path: Path
) -> None:
    tab = show(served, "models/intents")
    answer = ask(tab, TEXT)
    label = answer["label"]
    assert tab.locator("#summary").text_content().startswith(label)
    bars = shown_bars(tab)
    assert [name for name, _ in bars] == sorted(
        answer["probabilities"], key=answer["probabilities"].get, reverse=True
    )
    assert bars[0][1] == f"{100 * answer['probability']:.1f} %"
    # It was promised more than the answer can keep, and the set holds the labels above .3.
    assert answer["abstain"] and tab.locator("#abstains").is_visible()
    chips = [each.text_content() for each in tab.locator(".chips li").all()]
    assert chips == answer["set"]
    origin = tab.locator("#origin").text_content()
    assert f"model intents · version {answer['version']} · answered in" in origin
    assert origin.endswith(" ms")
    same_by_every_line(tab, answer, tmp_path)
    # The line is copied as it stands.
    tab.get_by_role("button", name="Copy the curl line").click()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied == tab.locator("#line-curl").text_content()
    assert tab.get_by_role("button", name="Copy the curl line").text_content() == "Copied"


def test_of_many_labels_the_first_ten_are_shown_and_all_on_demand(
    served: Served, show: Show
) -> None:
    tab = show(served, "models/many")
    ask(tab, "Ada lives")
    assert len(shown_bars(tab)) == 10
    tab.get_by_role("button", name="Show all 30").press("Enter")
    assert len(shown_bars(tab)) == 30
    tab.get_by_role("button", name="Show the first 10").click()
    assert len(shown_bars(tab)) == 10


def test_a_pair_is_sent_as_a_pair(served: Served, show: Show, tmp_path: Path) -> None:
    tab = show(served, "models/vectors")
    tab.wait_for_selector("#second:not([hidden])")
    tab.fill("#text-b", "New York")
    answer = ask(tab, "Ada lives")
    assert len(answer["embeddings"]) == 2
    assert tab.locator("#summary").text_content().startswith("Cosine")
    same_by_every_line(tab, answer, tmp_path)
    tab.fill("#text-b", " ")
    assert "embedding" in ask(tab, "Ada lives")


def test_an_address_of_no_model_leads_to_those_that_there_are(served: Served, show: Show) -> None:
    tab = show(served, "models/nothing")
    tab.wait_for_selector("#models:not([hidden]) a")
    assert "nothing" in tab.get_by_role("alert").first.text_content()
    tab.locator("#models a").first.click()
    tab.wait_for_selector("#trying:not([hidden])")


def test_tags_are_coloured_where_they_stand(served: Served, show: Show, tmp_path: Path) -> None:
    # Beyond the first plane of Unicode a character is two of JavaScript's.
    text = "😀😀 Ada Lovelace\n  lives in New York 😀."
    tab = show(served, "models/tags")
    answer = ask(tab, text)
    assert answer["entities"]
    marks = tab.locator(".sentence mark").all()
    assert [each.evaluate("each => each.firstChild.textContent") for each in marks] == [
        each["text"] for each in answer["entities"]
    ]
    kinds = [each.locator("small").text_content().split()[0] for each in marks]
    assert kinds == [each["type"] for each in answer["entities"]]
    # With the names of the entities taken out it is what was typed.
    left = tab.evaluate(
        """() => { const copy = document.querySelector('.sentence').cloneNode(true);
        copy.querySelectorAll('small').forEach(each => each.remove()); return copy.textContent; }"""
    )
    assert left == text
    assert tab.locator("#details tbody tr").count() == len(answer["words"])
    same_by_every_line(tab, answer, tmp_path)


def test_an_image_is_chosen_dropped_and_pasted(served: Served, show: Show, tmp_path: Path) -> None:
    tab = show(served, "models/pictures")
    content = picture()
    (tmp_path / "it's a picture.png").write_bytes(content)
    with tab.expect_response(lambda answer: "/predict/" in answer.url) as caught:
        choose(tab, content)
    answer = caught.value.json()
    assert tab.locator("#summary").text_content().startswith(answer["label"])
    assert tab.locator("#preview").evaluate("each => each.naturalWidth") == 5
    same_by_every_line(tab, answer, tmp_path)
    for event, target in [("drop", "document.body"), ("paste", "document.body")]:
        with tab.expect_response(lambda answer: "/predict/" in answer.url) as caught:
            tab.evaluate(
                f"""text => {{
                const bytes = Uint8Array.from(atob(text), each => each.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], "other.png", {{type: "image/png"}}));
                const told = {{bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer}};
                const made = "{event}" === "drop" ? new DragEvent("drop", told) : new ClipboardEvent("paste", told);
                {target}.dispatchEvent(made); }}""",
                base64.b64encode(content).decode(),
            )
        assert caught.value.json() == answer
        assert "other.png" in tab.locator("#drop-note").text_content()


def test_nothing_that_is_typed_or_a_label_is_read_as_html(
    served: Served, show: Show, tmp_path: Path
) -> None:
    for name in ("hostile", "tags"):
        tab = show(served, f"models/{name}")
        answer = ask(tab, f"{HOSTILE} Ada {HOSTILE}")
        assert tab.locator("main img[src='x'], #details b, #summary b, main script").count() == 0
        same_by_every_line(tab, answer, tmp_path)
    tab = show(served, "models/hostile")
    answer = ask(tab, "Ada")
    assert {name for name, _ in shown_bars(tab)} == set(answer["probabilities"])
    # And the browser itself refuses a call that would.
    refused = (
        "() => { try { document.body.innerHTML = '<b>'; return false; } catch { return true; } }"
    )
    assert tab.evaluate(refused)
    tab = show(served, "docs")
    assert tab.locator("main img").count() == 0
    assert served.ask("GET", f"/models/{HOSTILE.replace('/', '').replace(' ', '%20')}").status in (
        400,
        404,
    )


def test_what_cannot_be_answered_is_told_in_a_sentence(served: Served, show: Show) -> None:
    tab = show(served, "models/intents")
    tab.wait_for_selector("#trying:not([hidden])")
    refused = tab.locator("#refused")
    tab.click("#send")
    assert refused.text_content() == "Write a text first."
    # The page knows the bound: a browser cannot show the answer to a body that was not read.
    tab.fill("#text", "a" * 2_100_000)
    tab.press("#text", "Enter")
    assert "at most 2,000,000 are read (status 413)" in refused.text_content()
    ask(tab, "a" * 1_000_001)
    assert "at most 1,000,000 are read (status 413)" in refused.text_content()
    assert tab.locator("#answer").is_hidden()
    # And the next one is answered.
    ask(tab, "Ada")
    assert refused.is_hidden() and tab.locator("#answer").is_visible()
    tab.route("**/predict/**", lambda route: route.abort())
    tab.press("#text", "Enter")
    tab.wait_for_selector("#refused:not([hidden])")
    assert "was not reached" in refused.text_content()
    tab.unroute("**/predict/**")
    tab.route("**/predict/**", lambda route: route.fulfill(status=502, body="<html>bad gateway"))
    tab.press("#text", "Enter")
    tab.locator("#refused", has_text="502").wait_for()
    other = show(served, "models/pictures")
    choose(other, b"no image")
    assert "not a readable image" in other.locator("#refused").text_content()
    other.click("#send")
    assert other.locator("#answer").is_hidden()


def test_the_list_leads_to_a_model_and_back(served: Served, show: Show) -> None:
    tab = show(served, "")
    tab.wait_for_selector("#models:not([hidden])")
    assert [each.text_content() for each in tab.locator("#models a").all()] == list(MODELS)
    tab.get_by_role("link", name="score").press("Enter")
    assert tab.url.endswith("/models/score") and tab.title() == "score · limbeck"
    score = ask(tab, "Ada lives in New York")["score"]
    assert tab.locator("#summary").text_content() == f"{score:.6g}"
    tab.go_back()
    assert tab.locator("#models").is_visible() and tab.locator("#trying").is_hidden()
    tab.go_forward()
    assert tab.locator("#title").text_content() == "score"
    tab.reload()
    tab.wait_for_selector("#trying:not([hidden])")
    assert tab.locator("#title").text_content() == "score"


def test_a_proxy_may_have_the_server_below_an_address_of_its_own(
    served: Served, show: Show
) -> None:
    tab = show(served, "docs")

    def passed_on(route: Any) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/ml/", "/")))

    tab.route("**/ml/**", passed_on)
    tab.goto(f"http://127.0.0.1:{served.port}/ml/")
    tab.get_by_role("link", name="score").click()
    assert tab.url.endswith("/ml/models/score")
    assert "score" in ask(tab, "Ada")
    assert f":{served.port}/ml/predict/score'" in tab.locator("#line-curl").text_content()
    for name, path in [("Status", "status"), ("API", "docs"), ("Models", "")]:
        tab.get_by_role("navigation").get_by_role("link", name=name).click()
        assert tab.url.endswith(f"/ml/{path}")
    # A page that is opened by its address knows where the server begins, too.
    tab.goto(f"http://127.0.0.1:{served.port}/ml/models/score")
    tab.wait_for_selector("#trying:not([hidden])")


def test_the_whole_page_is_reached_by_tab_in_the_order_in_which_it_is_seen(
    served: Served, show: Show
) -> None:
    tab = show(served, "models/many")
    ask(tab, "Ada")
    tab.evaluate("document.activeElement.blur(); document.querySelector('.skip').focus()")
    reached = []
    for _ in range(20):
        told = """() => { const each = document.activeElement; const box = each.getBoundingClientRect();
            return [each.id || each.textContent.trim().slice(0, 20), box.top + scrollY, each.tagName]; }"""
        reached.append(tab.evaluate(told))
        tab.keyboard.press("Tab")
    names = [name for name, _, _ in reached]
    wanted = ["To the content", "Models", "Status", "API", "text", "text-b", "send", "Show all 30"]
    assert names[: len(wanted)] == wanted
    assert names.count("Copy") == 3
    tops = [top for _, top, _ in reached[1 : names.index("Copy") + 6]]
    assert tops == sorted(tops)


def test_a_token_is_asked_for_and_kept_in_the_page_alone(
    guarded: Served, show: Show, tmp_path: Path
) -> None:
    tab = show(guarded, "")
    assert tab.evaluate("document.activeElement.id") == "token"
    assert tab.locator("#trying").is_hidden() and "tags" not in tab.locator("main").text_content()
    assert broken_rules(tab) == []
    tab.fill("#token", "with space in it")
    tab.keyboard.press("Enter")
    assert "no space" in tab.locator("#problem").text_content()
    tab.fill("#token", "w" * 24)
    tab.keyboard.press("Enter")
    tab.locator("#problem", has_text="401").wait_for()
    tab.fill("#token", KEY)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#trying:not([hidden])")
    assert tab.locator("#token-form").is_hidden()
    answer = ask(tab, "Ada lives")
    line = tab.locator("#line-curl").text_content()
    assert KEY not in tab.locator("#request").text_content() and "$TOKEN" in line
    # The third of three that may come at once; then it is told to wait.
    assert json.loads(run(["sh", "-c", line], tmp_path)) == answer
    ask(tab, "Ada")
    assert "requests a second are let in" in tab.locator("#refused").text_content()
    stored = tab.evaluate(
        "[Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]"
    )
    assert stored == [[], [], ""]
    tab.reload()
    assert tab.locator("#token-form").is_visible()


def test_the_status_has_what_was_counted(folder: Path, show: Show, tmp_path: Path) -> None:
    write_model(tmp_path / "other", "text-classification")
    models = f"towns={folder / 'intents'},{tmp_path / 'other'}:shadow"
    with serving(tmp_path / "own", models, "--workers", "2") as server:
        for _ in range(5):
            assert server.predict(text="Ada lives").status == 200
        assert server.ask("POST", "/predict", b"{").status == 400
        # It is ready with its first worker; on a busy machine the second one takes seconds more.
        until = time.monotonic() + 20
        while server.ask("GET", "/status.json").json["workers"]["ready"] < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        tab = show(server, "status")
        tab.wait_for_selector("#state:not([hidden])")
        facts = {
            each.locator("dt").text_content(): each.locator("dd").text_content()
            for each in tab.locator(".facts > div").all()
        }
        assert facts["Workers"] == "2 of 2" and facts["Waiting requests"] == "0 of at most 128"
        assert facts["Requests"] == "6" and facts["Errors"] == "1" and facts["Rows"] == "5"
        assert "Half within" in facts and "99 % within" in facts
        told = server.ask("GET", "/status.json").json
        assert sum(count for _, count in told["models"]["towns"]["latency"]["buckets"]) == 6
        assert 0 < told["uptime_seconds"] < 120
        text = tab.locator("#models").text_content()
        assert "200: 5, 400: 1" in text and "is scored beside it" in text
        assert tab.locator(".chart svg .column").count() >= 1
        # Another request is seen at the next look.
        assert server.predict(text="Ada").status == 200
        tab.click("#again")
        tab.locator(".model-of-status dd", has_text="7").first.wait_for()
        assert broken_rules(tab) == []


def test_drift_is_drawn_where_the_server_tells_of_it(served: Served, show: Show) -> None:
    tab = show(served, "status")
    tab.wait_for_selector("#state:not([hidden])")
    told = served.ask("GET", "/status.json").json
    chart = {
        "name": HOSTILE,
        "note": "index by window",
        "threshold": 0.2,
        "values": [0.1, 0.05, 0.4],
    }
    # Where single categories are tested an index has no threshold; of a new model there is none.
    free = chart | {"name": "free", "threshold": None, "values": [0.1]}
    told["drift"] = {"intents": [chart, free], "tags": []}
    tab.route("**/status.json", lambda route: route.fulfill(json=told))
    tab.click("#again")
    tab.wait_for_selector("#drift .chart")
    assert tab.locator("#drift rect.column").count() == 4
    assert [each.text_content() for each in tab.locator("#drift h3").all()] == ["intents"]
    assert tab.locator("#drift rect.over").count() == 1
    assert tab.locator("#drift .threshold").count() == 1
    assert broken_rules(tab) == []
