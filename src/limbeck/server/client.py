"""A server's answers, row by row: `limbeck predict --url`.

By one connection that is kept open. A server that is busy (429) or about to stop (503) is asked
again after as many seconds as it says. A token comes from LIMBECK_TOKEN: what is typed as an
argument every user of the machine can read.
"""

import base64
import http.client
import json
import os
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from limbeck.artifact.answers import line_of, names_taken
from limbeck.artifact.rows.inputs import Item
from limbeck.core.files import read_at_most, require_file
from limbeck.core.wording import json_kind

TOKEN = "LIMBECK_TOKEN"
# A server may take so long over one row; longer than its own deadlines.
PATIENCE_SECONDS = 120.0
# How often a busy server is asked again for one row.
MOST_TRIES = 20
# Of an image's file; servers read less.
MOST_IMAGE_BYTES = 100 << 20
# What an answer says of where it comes from.
ORIGIN = ("model", "version")
WRITES = "text-generation"
# A source of rows whose columns are known by name.
TABLE = "csv"
JSON = {"content-type": "application/json"}


class Remote:
    """A model of a server.

    Args:
        url: of its predictions, such as `http://127.0.0.1:8000/predict/NAME`.

    Raises:
        ValueError: an address that is none, or at which no limbeck answers.
        OSError: nobody listens there.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--url {url}: expected is http://HOST:PORT/predict/NAME")
        if parts.username is not None:
            raise ValueError(
                f"--url: no name and password are read here. A token goes into {TOKEN}"
            )
        self.url = url
        # The only model's, where none is named.
        self.path = parts.path.rstrip("/") or "/predict"
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self.connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=PATIENCE_SECONDS)
        token = os.environ.get(TOKEN, "").strip()
        # Never shown: what is wrong with it, and not what it is.
        if not (token.isascii() and token.isprintable()):
            raise ValueError(f"{TOKEN}: a token has letters, digits and signs of ASCII alone")
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        status, told = self.ask("GET", None)
        if status == HTTPStatus.UNAUTHORIZED:
            self.close()
            raise ValueError(f"--url {url}: a token is needed there. Put it into {TOKEN}")
        if status != 200 or not isinstance(told, dict) or "reads" not in told:
            self.close()
            raise ValueError(f"--url {url}: no model of limbeck answers there ({why_of(told)})")
        self.kind: str = told["reads"]
        self.keys: list[str] = told["answers"]
        # As `ColumnFinder` knows an artifact's: what the columns of its training were called.
        self.columns: dict[str, str] = told["columns"]
        self.needs_pair: bool = told["needs_pair"]
        # Of what reads single texts a column `text_b` is any other one, as of an artifact here.
        if not told["reads_pairs"]:
            self.columns["source"] = TABLE
        self.writes = told["task"] == WRITES

    def answer_lines(self, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """An answer, or an error, for every item, as `answers.answer_lines` gives them; with the
        last one the connection is closed."""
        taken = names_taken([*self.keys, *ORIGIN])
        try:
            for item in items:
                yield line_of(item, self.answer(item), taken)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def answer(self, item: Item) -> dict[str, Any]:
        """The answer to one item, or why there is none."""
        if item.problem:
            return {"error": item.problem}
        try:
            row = row_of(item.raw, self.kind)
        except (ValueError, OSError) as error:
            return {"error": str(error)}
        status, told = self.ask("POST", row)
        if status != 200:
            return {"error": why_of(told)}
        answer: dict[str, Any] = told
        return answer

    def ask(self, method: str, row: Any) -> tuple[int, Any]:
        """(status, content) of a request. Raises OSError where nobody answers."""
        body = None if row is None else json.dumps(row).encode()
        for number in range(MOST_TRIES):
            status, headers, content = self.exchange(method, body)
            if status not in (429, 503) or number + 1 == MOST_TRIES:
                break
            time.sleep(float(headers.get("retry-after") or 1))
        try:
            return status, json.loads(content)
        except ValueError:
            return status, None

    def exchange(
        self, method: str, body: bytes | None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request and its answer; by a new connection where the last one was closed."""
        for is_last in (False, True):
            try:
                self.connection.request(method, self.path, body, self.headers | JSON)
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError) as error:
                self.connection.close()
                # A server closes what nobody has used for long; nothing was answered then.
                may_be_closed = isinstance(error, http.client.HTTPException | ConnectionError)
                if is_last or not may_be_closed:
                    raise OSError(f"{self.url}: {error or type(error).__name__}") from None
        raise AssertionError("unreachable")


def row_of(raw: Any, kind: str) -> dict[str, Any]:
    """A raw input, as the rows of a file become one (`Item.raw`), as a row of JSON.

    kind: what the model reads. Raises ValueError for what has no such form, OSError for an image
    that cannot be read.
    """
    if isinstance(raw, dict):
        return raw
    if kind == "image" and isinstance(raw, str | bytes):
        # A text is an image's path.
        content = raw if isinstance(raw, bytes) else read_image(Path(raw))
        return {"image": base64.b64encode(content).decode()}
    if isinstance(raw, str):
        return {"text": raw}
    if isinstance(raw, list | tuple):
        return {"words": list(raw)}
    raise ValueError(f"{json_kind(raw)} cannot be sent: a text, words or an image is expected")


def read_image(path: Path) -> bytes:
    """The bytes of an image's file. Raises ValueError for what is no file, or a large one."""
    require_file(path)
    with open(path, "rb") as file:
        return read_at_most(file, MOST_IMAGE_BYTES, str(path))


def why_of(told: Any) -> str:
    """What a server says is wrong."""
    if isinstance(told, dict) and "error" in told:
        return str(told["error"])
    return "it sent no JSON"
