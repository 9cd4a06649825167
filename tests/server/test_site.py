"""The pages of the server without a browser, and its document: whole, escaped, true of every task."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import install_products, write_model
from task_examples import EXAMPLES

import limbeck
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.predictor import Predictor
from limbeck.core import registry
from limbeck.core.html.environment import digest
from limbeck.evaluation.decisions.decision import Decision
from limbeck.server.chat import asking
from limbeck.server.chat.written import written_answers
from limbeck.server.hosting import Model, Models, Version
from limbeck.server.pages import openapi, reference, rendering
from limbeck.server.pages.described import described
from limbeck.server.pages.site import Site
from limbeck.server.pages.status import Figures, quantile
from limbeck.server.requests.access import Access, Token, digest_of
from limbeck.server.requests.asked import checked_text
from limbeck.server.requests.refusals import Refused
from limbeck.server.requests.routes import OPEN, Routes
from limbeck.server.settings import Limits
from limbeck.server.v2.interface import interface_of

Json = dict[str, Any]
HOSTILE = "</script><img src=x onerror='window.hacked=1'>"
KEY = "k" * 24
TASKS = sorted(
    name
    for name in registry.names("tasks")
    if type(EXAMPLES[name][0]).__module__.startswith("limbeck")
)


@pytest.fixture(autouse=True, scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        install_products(tmp_path_factory.mktemp("runtime") / "site", patch)
        yield


def hosted(folder: Path, name: str, task: str, **further: Any) -> Model:
    predictor = limbeck.load(write_model(folder / name, task, **further))
    # A page tells nothing of what is counted of a version.
    counts: Any = None
    live = Version("0123456789ab", predictor, interface_of(predictor), counts)
    return Model(name=name, live=live)


def promising() -> Decision:
    return Decision(
        likelihood="categorical", promise={"threshold": 0.9}, sets={"least_probability": 0.1}
    )


def application(models: list[Model], tokens: list[Token] | None = None) -> Any:
    """What the pages look at of an application."""
    board: Any = SimpleNamespace(place_of_key=lambda _: 0)
    app: Any = SimpleNamespace(
        models=Models({each.name: each for each in models}, 1),
        access=Access(tokens, Limits(), board),
        settings=SimpleNamespace(limits=Limits()),
        routes=Routes(),
    )
    Site(app).add_to(app.routes)
    return app


def asked(app: Any, path: str, token: str = "") -> Any:
    """The answer to GET, as the application gives it."""
    handler, names, _ = app.routes.find("GET", path)
    authorization = f"Bearer {token}" if token else ""
    request: Any = SimpleNamespace(names=names, header=lambda _: authorization)
    return asyncio.run(handler(request))


def policy_of(answer: Any) -> dict[str, str]:
    told = dict(answer.headers)["content-security-policy"]
    return dict(part.split(" ", 1) for part in told.split("; "))


@pytest.mark.parametrize("path", ["/", "/models/towns", "/status", "/docs"])
@pytest.mark.parametrize("is_guarded", [False, True])
def test_a_page_runs_its_own_script_and_asks_nobody_else(
    tmp_path: Path, path: str, is_guarded: bool
) -> None:
    tokens = [Token("me", digest_of(KEY), False)] if is_guarded else None
    app = application([hosted(tmp_path, "towns", "text-classification")], tokens)
    answer = asked(app, path)
    text = answer.body.decode()
    policy = policy_of(answer)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'none'" and policy["connect-src"] == "'self'"
    for kind in ("script", "style"):
        found = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        # The page of the document needs no script, and may run none.
        expected = [] if (kind, path) == ("script", "/docs") else [policy[f"{kind}-src"]]
        assert [f"'{digest(each)}'" for each in found] == expected
    assert "unsafe" not in str(policy)
    # Nothing of another address, no handler and no style of an element.
    assert not re.search(r"(src|href)=\"(https?:)?//", text)
    assert not re.search(r"<[^>]+ (on\w+|style)=", text.partition("<script>")[0])
    headers = dict(answer.headers)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY" and headers["referrer-policy"] == "no-referrer"
    # A page holds no data where who opens it may be anybody.
    assert ('id="token-form"' in text) == (is_guarded and path != "/docs")
    if is_guarded:
        assert not re.search(r"\bmove\b", text.partition("<script>")[0])
        assert "0123456789ab" not in text


def test_no_script_makes_html_of_a_text_or_keeps_the_token() -> None:
    for name in ("try.js", "status.js"):
        text = rendering.included(name)
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|Storage|cookie|eval\(|indexedDB|srcdoc",
            text,
        )
        assert found == []


def test_names_in_addresses_are_escaped_or_refused(tmp_path: Path) -> None:
    models = [hosted(tmp_path, "towns", "text-classification")]
    for tokens in (None, [Token("me", digest_of(KEY), False)]):
        with pytest.raises(Refused) as caught:
            asked(application(models, tokens), f"/models/{HOSTILE.replace('/', '')}")
        assert caught.value.status == 404
    # A stranger learns of no name: any that could be one has the same page.
    app = application(models, [Token("me", digest_of(KEY), False)])
    other, known = (asked(app, f"/models/{name}").body.decode() for name in ("unheard", "towns"))
    assert other.replace("unheard", "towns") == known
    # Who may see all names, and has mistyped one, is shown them.
    missing = asked(application(models, None), "/models/twons")
    assert missing.status == 404 and "No model of the name twons" in missing.body.decode()
    page = rendering.page("try", {"root": "./", "needs_token": False, "model": HOSTILE})
    assert HOSTILE not in page.body.decode() and "&lt;img src=x" in page.body.decode()


def test_the_models_are_told_with_what_they_read(tmp_path: Path) -> None:
    models = [
        hosted(tmp_path, "intents", "text-classification", decision=promising()),
        hosted(tmp_path, "score", "text-regression"),
        hosted(tmp_path, "words", "masked-lm"),
        hosted(tmp_path, "pictures", "image-classification"),
        hosted(tmp_path, "tags", "token-classification"),
    ]
    told = json.loads(asked(application(models), "/models.json").body)
    by_name = {each["model"]: each for each in told["models"]}
    assert by_name["intents"] == {
        "model": "intents",
        "version": "0123456789ab",
        "task": "text-classification",
        "reads": "text",
        "reads_pairs": True,
        "needs_pair": False,
        "columns": {},
        "answers": ["label", "probability", "probabilities", "set", "confidence", "abstain"],
        "labels": ["call", "move", "rest"],
        "num_labels": 3,
        "range": None,
        "abstains": True,
        "answers_sets": True,
    }
    assert by_name["score"]["range"] == [0, 5] and by_name["score"]["num_labels"] == 0
    assert by_name["pictures"]["reads"] == "image" and not by_name["pictures"]["reads_pairs"]
    # Two texts in a row would be a sentence of two words.
    assert by_name["tags"]["reads"] == "words" and not by_name["tags"]["reads_pairs"]
    # It reads one text, and its labels are a vocabulary.
    assert not by_name["words"]["reads_pairs"]
    assert told["limits"]["body_bytes"] == Limits().body_bytes


def inlined(document: Json, part: Any) -> Any:
    """A schema with what its references stand for."""
    if isinstance(part, dict):
        if "$ref" in part:
            return inlined(document, reference.resolved(document, part))
        return {key: inlined(document, value) for key, value in part.items()}
    return [inlined(document, each) for each in part] if isinstance(part, list) else part


@pytest.mark.parametrize("task", TASKS)
def test_the_document_is_true_of_the_answers_of_every_task(tmp_path: Path, task: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    decision = promising() if task.endswith("t-classification") else None
    model = hosted(tmp_path, "mine", task, decision=decision)
    document = openapi.document(Routes(), [model], needs_token=False)
    # A task without a schema of its own would be told as an object of anything.
    assert task in document["components"]["schemas"]
    operation = document["paths"]["/predict/mine"]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]["schema"]
    schema = inlined(document, content)
    raw = EXAMPLES[task][2]
    answer = dict(model.live.predictor.predict(raw))
    writer = text_model_of(model.live.predictor)
    if writer is not None:
        # What writes answers with more than the next token.
        *_, (answer,) = written_answers(writer, [raw])
    origin = {"model": "mine", "version": "0123456789ab"}
    check = jsonschema.Draft202012Validator(schema)
    for body in (answer | origin, origin | {"answers": [answer, answer]}):
        check.validate(json.loads(json.dumps(body)))
    # Each key of an answer is named, and one that is missing is told.
    own = inlined(document, {"$ref": "#/components/schemas/Answer-mine"})
    parts = [own, *own.get("anyOf", [])]
    named = {key for part in parts for key in part.get("properties", {})}
    assert set(answer) <= named
    for key in answer:
        less = {name: value for name, value in answer.items() if name != key}
        assert not check.is_valid(less | origin), key
    assert not check.is_valid(answer | origin | {"model": "other"})
    if "label" in answer:
        assert not check.is_valid(answer | origin | {"label": "none of them"})


def test_a_model_of_pairs_is_told_to_read_nothing_else(tmp_path: Path) -> None:
    predictor = hosted(tmp_path, "mine", "text-classification").live.predictor
    text, texts, pair = map(openapi.ref, ("Text", "RowOfTexts", "RowOfPair"))
    either = openapi.bodies_of(predictor)["application/json"]["schema"]["anyOf"]
    assert text in either and texts in either
    predictor.__dict__["needs_pair"] = True
    bodies = openapi.bodies_of(predictor)
    assert list(bodies) == ["application/json"]
    assert bodies["application/json"]["schema"]["anyOf"][0] == pair
    assert json.dumps(text) not in json.dumps(bodies)


def test_the_document_has_what_is_read_of_formats_and_parameters() -> None:
    schemas = openapi.template()["components"]["schemas"]
    formats = schemas["ResponseFormat"]["anyOf"]
    named = {key for each in formats for key in each["properties"]}
    assert named == set(asking.names_of(asking.ResponseFormat))
    of_schema = formats[1]["properties"]["json_schema"]["properties"]
    assert set(of_schema) == set(asking.names_of(asking.NamedSchema))
    request = schemas["InferRequest"]["properties"]
    for part, key in (
        (request, "binary_data_output"),
        (request["inputs"]["items"]["properties"], "binary_data_size"),
        (request["outputs"]["items"]["properties"], "binary_data"),
        (request["outputs"]["items"]["properties"], "classification"),
    ):
        assert key in part["parameters"]["properties"]


@pytest.mark.parametrize("number", [openapi.MOST_NAMED, openapi.MOST_NAMED + 1])
def test_as_many_labels_are_named_as_a_reader_can_use(tmp_path: Path, number: int) -> None:
    labels = [f"label {index}" for index in range(number)]
    model = hosted(tmp_path, "mine", "text-classification", labels=labels)
    document = openapi.document(Routes(), [model], needs_token=False)
    label = document["components"]["schemas"]["Answer-mine"]["properties"]["label"]
    assert label.get("enum") == (labels if number == openapi.MOST_NAMED else None)


@given(
    st.text(
        st.sampled_from(
            "a\0 \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u200b\u3000\ufeff"
        )
    )
)
def test_an_empty_text_is_the_same_to_the_document_and_the_server(text: str) -> None:
    pattern = openapi.template()["components"]["schemas"]["Text"]["pattern"]
    # Python's \s takes more for space than ECMA-262's, which has U+FEFF in its place.
    space = pattern.replace(
        r"\s", r"\t\n\x0b\x0c\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
    )
    try:
        checked_text(text, Limits())
    except Refused:
        assert not re.search(space, text)
    else:
        assert re.search(space, text)


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("is_guarded", [False, True])
def test_the_document_is_valid_openapi(tmp_path: Path, is_named: bool, is_guarded: bool) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    models = [hosted(tmp_path, name, "text-classification") for name in ("one", "two")]
    routes = application([]).routes
    found = openapi.document(routes, models if is_named else None, needs_token=is_guarded)
    validator.validate(found)
    assert found["openapi"] == "3.1.0" and found["info"]["version"] == limbeck.__version__
    assert ("/predict/two" in found["paths"]) == is_named
    assert ("/predict" in found["paths"]) == (not is_named)
    # The only model answers at the address without a name, too.
    one = openapi.document(routes, models[:1], needs_token=is_guarded)
    validator.validate(one)
    assert {"/predict", "/predict/one"} <= set(one["paths"])
    identities = [each["operationId"] for path in one["paths"].values() for each in path.values()]
    assert len(identities) == len(set(identities))


def test_every_address_is_in_the_document_with_the_token_that_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    from limbeck.server.app import Application

    # The table of the application itself, whatever other rooms have added to it.
    app: Any = application([hosted(tmp_path, "one", "text-classification")])
    app.site = Site(app)
    app.routes = Application.table(Unbuilt(app))
    found = openapi.document(app.routes, None, needs_token=True)
    addresses = {(method, path) for method, path, _ in app.routes.all()}
    assert ("POST", "/predict/{model}") in addresses and ("GET", "/openapi.json") in addresses
    for method, path in addresses:
        operation = found["paths"][path][method.lower()]
        assert operation["summary"]
        is_open = path in OPEN
        assert ("security" in operation) == (not is_open), path
        assert ("401" in operation["responses"]) == (
            not is_open or path in ("/docs", "/openapi.json")
        )
    # And nothing is in it that the table does not answer.
    documented = {
        (method.upper(), path) for path, each in found["paths"].items() for method in each
    }
    assert documented == addresses


class Unbuilt:
    """Stands in for an application whose table is asked for: every handler is there."""

    def __init__(self, app: Any) -> None:
        self.models, self.access, self.settings = app.models, app.access, app.settings

    def __getattr__(self, name: str) -> Any:
        async def handler(request: Any) -> None:
            """Another address."""

        return handler


def test_an_address_of_another_room_is_told_by_its_docstring() -> None:
    async def infer(request: Any) -> None:
        """Answer a request of
        another protocol.

        More of it."""

    routes = Routes()
    routes.add("POST /v9/models/{model}/infer", infer)
    found = openapi.document(routes, None, needs_token=False)
    operation = found["paths"]["/v9/models/{model}/infer"]["post"]
    assert operation["summary"] == "Answer a request of another protocol."
    assert [each["name"] for each in operation["parameters"]] == ["model"]
    assert operation["tags"] == ["others"]


def test_who_sends_a_token_is_told_of_the_models(tmp_path: Path) -> None:
    models = [hosted(tmp_path, "secret", "text-classification")]
    app = application(models, [Token("me", digest_of(KEY), False)])
    stranger = asked(app, "/openapi.json").body.decode()
    assert "secret" not in stranger and "/predict/{model}" in stranger
    assert "/predict/secret" in asked(app, "/openapi.json", KEY).body.decode()
    with pytest.raises(Refused) as caught:
        asked(app, "/openapi.json", "w" * 24)
    assert caught.value.status == 401


def test_the_page_of_the_document_shows_every_part_of_it(tmp_path: Path) -> None:
    labels = [HOSTILE, "b", "c"]
    model = hosted(tmp_path, "mine", "text-classification", labels=labels)
    app = application([model])
    text = asked(app, "/docs").body.decode()
    assert HOSTILE not in text
    document = json.loads(asked(app, "/openapi.json").body)
    for path, operations in document["paths"].items():
        assert f"<code>{path}</code>" in text
        for operation in operations.values():
            assert operation["summary"].replace("'", "&#39;") in text
    for part in ("X-Request-Timeout", "probabilities", "multipart", "Retry-After", "413"):
        assert (part in text) == (part != "multipart")


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["number", "null"]}, "number or null"),
        ({"const": "shadow"}, '"shadow"'),
        ({"enum": list(range(15))}, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"),
        ({"type": "array", "minItems": 1, "items": {"type": "integer"}}, "array of integer; items, at least 1"),
        ({"type": "object", "additionalProperties": {"type": "number", "maximum": 1}}, "object of number; at most 1"),
        ({"type": "string", "contentEncoding": "base64"}, "string, base64"),
        ({"anyOf": [{"type": "string"}]}, "one of these"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_a_schema_in_a_few_words(schema: Json, told: str) -> None:
    assert reference.kind_of({}, schema) == told


def test_schemas_are_rows_by_depth() -> None:
    inner = {"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}, "c": {}}}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}}
    rows = [
        (each["name"], each["depth"], each["required"])
        for each in reference.rows_of({}, schema, "", 0)
    ]
    assert rows == [
        ("", 0, True),
        ("a", 1, False),
        ("each", 2, True),
        ("b", 3, True),
        ("c", 3, False),
    ]


class Counted:
    """Meters of two models, as prometheus-client gives them."""

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for version, status, count in [("v1", "200", 7), ("v2", "200", 2), ("v1", "422", 3)]:
            labels = {"model": "a", "version": version, "status": status}
            yield "limbeck_requests_total", labels, count
        yield "limbeck_requests_total", {"model": "b", "version": "v", "status": "200"}, 1
        yield "limbeck_rows_total", {"model": "a", "version": "v1"}, 40
        yield "limbeck_abstained_rows_total", {"model": "a", "version": "v1"}, 4
        for bound, count in [("0.01", 2), ("0.1", 10), ("1.0", 11), ("+Inf", 12)]:
            yield "limbeck_request_seconds_bucket", {"model": "a", "le": bound}, count
        yield "limbeck_request_seconds_sum", {"model": "a"}, 3.0


def test_figures_are_summed_by_model() -> None:
    figures = Figures(Counted())  # type: ignore[arg-type]
    found = figures.of("a")
    assert found["requests"] == {"200": 9, "422": 3} and found["errors"] == 3
    assert found["rows"] == 40 and found["abstained"] == 4
    latency = found["latency"]
    assert latency["buckets"] == [[0.01, 2], [0.1, 8], [1.0, 1], [None, 1]]
    assert latency["count"] == 12 and latency["mean_ms"] == 250.0
    # The sixth of twelve is half way between the second and the tenth.
    assert latency["p50_ms"] == pytest.approx(55.0)
    # Beyond the last bound nothing is known.
    assert latency["p99_ms"] == 1000.0
    assert figures.of("b")["latency"] is None and figures.of("b")["errors"] == 0
    assert figures.of("new")["requests"] == {}


def test_a_quantile_is_a_bound_where_all_lie_in_one_bucket() -> None:
    assert quantile([(0.1, 0.0), (0.2, 8.0), (float("inf"), 8.0)], 1.0) == pytest.approx(0.2)
    assert quantile([(0.1, 0.0), (0.2, 8.0), (float("inf"), 8.0)], 0.5) == pytest.approx(0.15)
    assert quantile([(0.1, 0.0), (float("inf"), 8.0)], 0.5) == 0.1


def test_described_is_plain_json(tmp_path: Path) -> None:
    model = hosted(tmp_path, "tags", "token-classification")
    told = described(model.name, model.live)
    assert json.loads(json.dumps(told)) == told and told["reads"] == "words"
    assert set(told["answers"]) == {"words", "tags", "probabilities", "entities"}


def test_an_example_is_answered_once_to_tell_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hosted(tmp_path, "towns", "text-classification")
    first = described("towns", model.live)
    monkeypatch.setattr(Predictor, "predict", lambda *_: pytest.fail("once more"))
    assert described("towns", model.live) == first
