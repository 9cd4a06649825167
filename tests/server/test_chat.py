"""OpenAI's API: what its own client and plain sockets get of a toy model, in one process."""

import asyncio
import contextlib
import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_decoder import END, ToyDecoder, byte_tokenizer

from limbeck.artifact.generation.text_model import TextModel
from limbeck.tasks.chat.template import MessageTemplate

TEMPLATE = "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('no ' + m.role) }}{% endif %}{{ m.content }}|{% endfor %}"
TOKENIZER = byte_tokenizer()
pytest.importorskip("granian")
pytestmark = pytest.mark.services


class Scripted(ToyDecoder):
    """Says a text after every prompt; a step takes some time."""

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        super().__init__(positions=400)
        self.said = [*TOKENIZER.encode(text).ids, END]
        self.seconds = seconds
        self.steps: list[int] = []

    def logits(self, ids: np.ndarray, cache: Any) -> np.ndarray:
        time.sleep(self.seconds)
        self.steps.append(id(cache))
        begins = not cache.ids
        logits = super().logits(ids, cache)
        cache.place = 0 if begins else cache.place + 1
        logits[-1] = 0
        logits[-1, self.said[min(cache.place, len(self.said) - 1)]] = 20
        return logits


def writer(decoder: ToyDecoder, template: str | None = TEMPLATE) -> TextModel:
    return TextModel(decoder, TOKENIZER, (END,), template and MessageTemplate(template))  # type: ignore[arg-type]


DECODERS = {
    "hello": Scripted("Grüße! How can I help?"),
    "slow": Scripted("abcdefghijklmnopqrstuvwxyz" * 12, 0.01),
    "free": ToyDecoder(positions=300),
    "plain": Scripted("and so on"),
    "tried": Scripted("abcdefghijklmnopqrst", 0.01),
    "unlike": Scripted("and so on"),
}
# Of the models of these names; they begin an answer as these do, or otherwise.
CANDIDATES = {"tried": Scripted("another", 0.1), "unlike": Scripted("but no", 0.0)}
TRIALS: dict[str, Any] = {}


# (model, status) of the requests so far.
COUNTED: list[tuple[str, int]] = []


def count(model: str, version: str, status: int, seconds: float) -> None:
    COUNTED.append((model, status))


def ignored(*counted: Any) -> None:
    """Meters of prometheus-client are of a process, and not of a test."""


@contextlib.contextmanager
def served(folder: Path, **limits: Any) -> Iterator[int]:
    """The port of a server of the models, in a thread of its own."""
    from limbeck.server.app import Application
    from limbeck.server.engine import Engine
    from limbeck.server.hosting import Model, Models, Version
    from limbeck.server.plans import Shelf
    from limbeck.server.processes.board import Board
    from limbeck.server.processes.worker import server_on
    from limbeck.server.requests.access import Access
    from limbeck.server.settings import Limits, Settings
    from limbeck.server.trials import Trial

    by_name = {}
    for name, decoder in DECODERS.items():
        text_model = writer(decoder, None if name == "plain" else TEMPLATE)
        other: Any = None
        by_name[name] = Model(name, Version(f"{name}-1", other, other, other, text_model))
    for name, decoder in CANDIDATES.items():
        tried = Version(f"{name}-2", other, other, other, writer(decoder))
        trial = TRIALS[name] = Trial(folder, name, 1, 0, 1)
        by_name[name] = replace(by_name[name], candidate=tried, trial=trial)
    by_name["rows"] = Model("rows", Version("rows-1", other, other, other))
    settings = Settings(models={}, limits=Limits(**limits))
    Board.create(folder / "board", 1)
    board = Board(folder / "board")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    ready, box = threading.Event(), SimpleNamespace()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        engine = Engine(settings.limits.queue, 1, board, loop)
        meters: Any = SimpleNamespace(
            count=count, count_rows=ignored, count_refused=ignored, count_shadowed=ignored
        )
        access = Access(None, settings.limits, board)
        app = Application(settings, Models(by_name, 1), engine, meters, access, Shelf(folder))
        task: Any = SimpleNamespace(socket=listening.detach(), settings=settings)
        server = server_on(task, app, 100)
        box.stop = lambda: loop.call_soon_threadsafe(server.stop)
        box.engine = engine
        ready.set()
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        box.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(tmp_path_factory.mktemp("server")) as found:
        yield found


def post(port: int, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        "POST", path, json.dumps(body), {"content-type": "application/json", **headers}
    )
    response = connection.getresponse()
    content = response.read()
    connection.close()
    is_json = response.headers["content-type"] == "application/json"
    return response.status, json.loads(content) if is_json else content.decode()


def chat(port: int, **keys: Any) -> tuple[int, Any]:
    body = {"model": "hello", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
    return post(port, "/v1/chat/completions", body | keys)


def test_a_whole_answer(port: int) -> None:
    status, told = chat(port)
    assert status == 200
    assert told["object"] == "chat.completion" and told["model"] == "hello"
    assert told["choices"][0]["message"]["content"] == "Grüße! How can I help?"
    assert told["choices"][0]["finish_reason"] == "stop"
    # "Hi|" are three bytes; 24 bytes and the end.
    assert told["usage"] == {"prompt_tokens": 3, "completion_tokens": 25, "total_tokens": 28}
    assert told["system_fingerprint"] == "hello-1"


def test_a_stream_of_events(port: int) -> None:
    status, text = chat(port, stream=True, stream_options={"include_usage": True})
    events = text.split("\n\n")
    assert status == 200 and events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(each.removeprefix("data: ")) for each in events[:-2]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [each["choices"][0]["delta"].get("content", "") for each in chunks[:-1]]
    assert "".join(pieces) == "Grüße! How can I help?" and "ü" in pieces
    reasons = [each["choices"][0]["finish_reason"] for each in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == 25 and chunks[-1]["choices"] == []
    assert len({each["id"] for each in chunks}) == 1


@pytest.mark.parametrize("stop", ["! How", ["help", "can"]])
@pytest.mark.parametrize("stream", [False, True])
def test_stop_words(port: int, stop: Any, stream: bool) -> None:
    expected = "Grüße" if stop == "! How" else "Grüße! How "
    status, told = chat(port, stop=stop, stream=stream)
    if stream:
        lines = [json.loads(each[6:]) for each in told.split("\n\n")[:-2]]
        text = "".join(each["choices"][0]["delta"].get("content", "") for each in lines)
    else:
        text = told["choices"][0]["message"]["content"]
    assert (status, text) == (200, expected)


def test_max_tokens_and_lengths(port: int) -> None:
    for key in ("max_tokens", "max_completion_tokens"):
        _, told = chat(port, **{key: 2})
        assert told["choices"][0]["finish_reason"] == "length"
        assert told["choices"][0]["message"]["content"] == "Gr"


def test_text_is_continued(port: int) -> None:
    for prompt in ("Once", ["Once"], [5, 6, 7]):
        status, told = post(
            port, "/v1/completions", {"model": "plain", "prompt": prompt, "temperature": 0}
        )
        assert status == 200 and told["object"] == "text_completion"
        assert told["choices"][0]["text"] == "and so on"
    # As OpenAI's, 16 tokens where none are named.
    _, told = post(port, "/v1/completions", {"model": "hello", "prompt": "a", "temperature": 0})
    assert told["usage"]["completion_tokens"] == 16


def test_the_same_seed_gives_the_same_text(port: int) -> None:
    def said(seed: int) -> str:
        return chat(port, model="free", seed=seed, temperature=1, max_tokens=30)[1]["choices"][0][
            "message"
        ]["content"]

    assert said(1) == said(1) != said(2)


def test_answers_follow_a_schema(port: int) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    status, told = chat(port, model="free", temperature=1, seed=3, response_format=form)
    assert status == 200 and json.loads(told["choices"][0]["message"]["content"])["n"] in range(100)


def test_the_models_are_listed(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/v1/models")
    told = json.loads(connection.getresponse().read())
    assert [each["id"] for each in told["data"]] == list(DECODERS)
    connection.request("GET", "/v1/models/hello")
    assert json.loads(connection.getresponse().read())["id"] == "hello"
    connection.close()


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


@pytest.mark.parametrize(
    ("keys", "status", "told"),
    [
        ({"model": "none"}, 404, "no model of this name"),
        ({"model": "rows"}, 404, "writes no text"),
        ({"model": "plain"}, 400, "no chat template"),
        ({"messages": []}, 400, "`messages`"),
        ({"messages": "Hi"}, 400, "`messages`"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "no system"),
        ({"messages": [{"role": "user", "content": "<end>a"}]}, 400, "message 1 holds the special token <end>"),
        ({"messages": [{"role": "user", "content": "a" * 400}]}, 400, "401 tokens"),
        ({"temperature": 3}, 400, "`temperature`"),
        ({"top_p": 0}, 400, "`top_p`"),
        ({"n": 2}, 400, "`n`: 1 is expected"),
        ({"logprobs": True}, 400, "`logprobs`: false is expected"),
        ({"seed": 1 << 70}, 400, "`seed`: a whole number is expected"),
        ({"messages": [{"role": "user", "content": 7}]}, 400, "message 1 (user): content: a text, or a list"),
        ({"max_tokens": 0}, 400, "`max_tokens`: at least 1 is expected, not 0"),
        ({"max_tokens": "5"}, 400, '`max_tokens`: a whole number is expected, not "5"'),
        ({"max_tokens": True}, 400, "`max_tokens`: a whole number is expected, not true"),
        ({"temperature": True}, 400, "`temperature`: a number is expected, not true"),
        ({"temperature": 3}, 400, "`temperature`: at most 2 is expected, not 3"),
        ({"n": True}, 400, "`n`: 1 is expected, not true"),
        ({"stream": 1}, 400, "`stream`: true or false is expected, not 1"),
        ({"logprobs": 0}, 400, "`logprobs`: false is expected, not 0"),
        ({"presence_penalty": False}, 400, "`presence_penalty`: 0 is expected, not false"),
        ({"stop": 5}, 400, "`stop`: a text or a list is expected, not 5"),
        ({"seed": 1 << 63}, 400, "`seed`: less than 9223372036854775808 is expected"),
        ({"messages": None}, 400, "`messages`: a list of 1 to 4,096"),
        ({"tools": [{"type": "function"}]}, 400, "`tools` is not done here"),
        ({"logit_bias": {"7": 1}}, 400, "`logit_bias` is not done here"),
        ({"max_token": 5}, 400, "Did you mean `max_tokens`?"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 400, "send one"),
        ({"stream_options": {"include_usage": True}}, 400, "of a stream"),
        ({"response_format": {"type": "text", "json_schema": {"schema": {}}}}, 400, "beside"),
        ({"messages": [{"role": "bogus", "content": "a"}]}, 400, "message 1: its role is `bogus`"),
        ({"messages": [{"role": "user<end>", "content": "a"}]}, 400, "message 1: its role is `user<end>`"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "not null"),
        ({"messages": [{"role": "user", "content": "a", "contnt": 1}]}, 400, "Did you mean `content`"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "message 1 (user): content[0]: a part of type `image_url`"),
        ({"reasoning_effort": "high"}, 400, "`reasoning_effort`"),
        ({"tool_choice": "required"}, 400, "`tool_choice`"),
        ({"temprature": 1}, 400, "Did you mean `temperature`"),
        ({"stop": ["a"] * 17}, 400, "`stop`: a list of at most 16 is expected, not a list of 17"),
        ({"stop": ""}, 400, "stop: a word"),
        ({"response_format": {"type": "json_schema"}}, 400, "`json_schema` with a `schema`"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "x"}}}}, 400, "schema"),
        (of_schema({"$ref": "#"}), 400, "response_format: the JSON schema cannot be followed: it has no value that ends"),
        (of_schema({"type": "string", "pattern": r"(a)\1"}), 400, "cannot be followed: regex parse error: backreferences are not supported"),
        ({"stream": True, "messages": [{"role": "system", "content": "x"}]}, 400, "no system"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_told_in_openais_form(
    port: int, keys: dict[str, Any], status: int, told: str
) -> None:
    found, answer = chat(port, **keys)
    assert found == status and told in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["code"] == ("model_not_found" if status == 404 else None)


def test_no_logprobs_are_told_of_a_text(port: int) -> None:
    """To OpenAI 0 asks for those of the tokens that are written: null came back for it."""
    body = {"model": "hello", "prompt": "a", "max_tokens": 2}
    for asked in (0, 1, True):
        status, answer = post(port, "/v1/completions", body | {"logprobs": asked})
        assert status == 400 and "`logprobs`: false is expected" in answer["error"]["message"]
    for asked in (None, False):
        assert post(port, "/v1/completions", body | {"logprobs": asked})[0] == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "service_unavailable_error"),
        (504, "timeout_error"),
        (507, "server_error"),
    ],
)
def test_an_error_is_of_openais_kind(status: int, kind: str) -> None:
    from limbeck.server.chat.replies import error_of
    from limbeck.server.requests.refusals import Refused

    told = {"message": "why", "type": kind, "param": None, "code": None}
    assert error_of(Refused(HTTPStatus(status), "why")) == {"error": told}


def test_what_clients_send_by_habit_changes_nothing(port: int) -> None:
    plain = chat(port, max_tokens=4, temperature=0)[1]["choices"]
    habits = {
        "n": 1,
        "seed": -1,
        "prediction": None,
        "stream_options": None,
        "stop": [],
        "top_p": None,
        "frequency_penalty": 0.0,
        "logprobs": False,
        "top_logprobs": 0,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "logit_bias": {},
        "modalities": ["text"],
        "service_tier": "auto",
        "reasoning_effort": None,
        "verbosity": "medium",
        "prompt_cache_key": "a",
        "safety_identifier": "b",
        "max_completion_tokens": 4,
        "response_format": {"type": "text"},
    }
    status, told = chat(port, max_tokens=4, temperature=0, **habits)
    assert status == 200 and told["choices"] == plain
    # So near 0 that a logit divided by it is infinite.
    status, told = chat(port, max_tokens=4, temperature=1e-320)
    assert status == 200 and told["choices"] == plain


def test_a_content_may_come_in_parts(port: int) -> None:
    answers = [
        chat(port, messages=[{"role": "user", "content": content}], temperature=0)[1]
        for content in ("a\nb", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    ]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"] == answers[1]["usage"]


def test_streams_take_turns(port: int) -> None:
    DECODERS["slow"].steps.clear()  # type: ignore[attr-defined]
    found: list[Any] = []

    def ask() -> None:
        found.append(chat(port, model="slow", max_tokens=20))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = DECODERS["slow"].steps  # type: ignore[attr-defined]
    assert {told["choices"][0]["message"]["content"] for _, told in found} == {
        "abcdefghijklmnopqrst"
    }
    changes = sum(1 for before, after in itertools.pairwise(steps) if before != after)
    # One behind the other would change twice.
    assert len(steps) == 60 and changes > 30


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_stops_the_work(port: int, stream: bool) -> None:
    steps = DECODERS["slow"].steps  # type: ignore[attr-defined]
    body = json.dumps(
        {
            "model": "slow",
            "messages": [{"role": "user", "content": "a"}],
            "temperature": 0,
            "stream": stream,
        }
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(f"{head}{body}".encode())
        time.sleep(0.4)
    time.sleep(0.1)
    count = len(steps)
    time.sleep(0.4)
    # 300 tokens would take three seconds.
    assert len(steps) - count <= 2
    assert COUNTED[-1] == ("slow", 499)


def test_a_stream_is_ended_at_its_deadline(port: int) -> None:
    began = time.monotonic()
    body = {"model": "slow", "messages": [{"role": "user", "content": "a"}], "stream": True}
    status, text = post(port, "/v1/chat/completions", body, **{"x-request-timeout": "0.5"})
    last = json.loads(text.strip().split("\n\n")[-1][6:])
    assert status == 200 and last["error"]["type"] == "timeout_error"
    # Its status said 200 before it failed; who watches the server sees what came of it.
    assert COUNTED[-1] == ("slow", 504)
    assert time.monotonic() - began < 2
    status, told = post(
        port, "/v1/chat/completions", body | {"stream": False}, **{"x-request-timeout": "0.3"}
    )
    assert status == 504 and "no answer in the time" in told["error"]["message"]


def test_no_more_wait_than_may(tmp_path: Path) -> None:
    with served(tmp_path, queue=1) as port:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(chat(port, model="slow", max_tokens=40)[0])

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 429, 429, 429]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("model", "same"), [("tried", 1), ("unlike", 0)])
def test_a_candidate_is_scored_by_what_v1_is_asked(
    tmp_path: Path, model: str, same: int, stream: bool
) -> None:
    with served(tmp_path) as port:
        assert chat(port, model=model, stream=stream, temperature=1, seed=2)[0] == 200
        seen = waited_for(model)
    # Both have "a" in mind first, or one has "b"; what follows is not compared.
    assert seen.same == same and not seen.failed


def waited_for(model: str) -> Any:
    until = time.monotonic() + 10
    while not TRIALS[model].seen().rows and time.monotonic() < until:
        time.sleep(0.02)
    seen = TRIALS[model].seen()
    assert seen.rows == 1
    return seen


def test_a_candidate_is_scored_once_a_stream_has_ended(tmp_path: Path) -> None:
    live, candidate = DECODERS["tried"], CANDIDATES["tried"]
    live.steps.clear()  # type: ignore[attr-defined]
    candidate.steps.clear()
    counts: list[tuple[int, int]] = []
    body = {"model": "tried", "prompt": "a", "temperature": 0, "stream": True, "max_tokens": 20}
    with served(tmp_path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/v1/completions", json.dumps(body))
        response = connection.getresponse()
        while line := response.readline():
            if line.startswith(b"data: {"):
                counts.append((len(live.steps), len(candidate.steps)))  # type: ignore[attr-defined]
        connection.close()
        assert len(counts) == 20 and all(of_candidate == 0 for _, of_candidate in counts)
        waited_for("tried")
    # Each has read the prompt once.
    assert len(live.steps) == 21 and len(candidate.steps) == 1  # type: ignore[attr-defined]


def test_openais_own_client(port: int) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "Hi"}]
    assert [each.id for each in client.models.list()] == list(DECODERS)
    whole = client.chat.completions.create(model="hello", messages=messages, temperature=0)
    assert whole.choices[0].message.content == "Grüße! How can I help?"
    stream = client.chat.completions.create(
        model="hello", messages=messages, temperature=0, stream=True
    )
    assert (
        "".join(each.choices[0].delta.content or "" for each in stream) == "Grüße! How can I help?"
    )
    text = client.completions.create(model="plain", prompt="Once", temperature=0)
    assert text.choices[0].text == "and so on"
    with pytest.raises(openai.NotFoundError, match="no model of this name"):
        client.chat.completions.create(model="none", messages=messages)
    with pytest.raises(openai.BadRequestError, match="no system"):
        client.chat.completions.create(model="hello", messages=[{"role": "system", "content": ""}])
    with client.chat.completions.create(model="slow", messages=messages, stream=True) as leaving:
        next(iter(leaving))
    client.close()
