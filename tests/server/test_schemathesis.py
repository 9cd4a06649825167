"""The running server against its own document: requests that schemathesis makes of it, good and bad.

`pip install '.[fuzz]'`. Every check is on: no status that the document does not have, no 5xx but 503 and 504, no answer of another shape, no bad request that is answered, no address without its token.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import install_products, write_model
from served import Served, serving

pytest.importorskip("granian")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(
        not shutil.which("schemathesis", path=str(Path(sys.executable).parent)),
        reason="pip install '.[fuzz]'",
    ),
]
CONFIG = Path(__file__).with_name("schemathesis.toml")
TASKS = {
    "intents": "text-classification",
    "tags": "token-classification",
    "pictures": "image-classification",
    "score": "text-regression",
    "vectors": "sentence-embedding",
}
KEYS = {"shop": "a" * 24, "ops": "b" * 24}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fuzzed")
    tokens = folder / "tokens"
    tokens.write_text(f"shop {KEYS['shop']}\nops {KEYS['ops']} admin\n")
    with pytest.MonkeyPatch.context() as patch:
        install_products(folder / "site", patch)
        models = [f"{name}={write_model(folder / name, task)}" for name, task in TASKS.items()]
        arguments = (*models, "--tokens", str(tokens), "--workers", "2")
        with serving(folder / "own", *arguments) as server:
            yield server


def cases(served: Served, who: str, examples: int, *arguments: str) -> int:
    """How many requests were made; none of them with an answer that fails a check."""
    url = f"http://127.0.0.1:{served.port}/openapi.json"
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
    options += ["--max-examples", str(examples), "--continue-on-failure", "--no-color"]
    options += ["-H", f"Authorization: Bearer {KEYS[who]}", *arguments]
    command = [str(program), "--config-file", str(CONFIG), "run", url, *options]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=served.log.parent, check=False
    )
    # Of a case that fails there may be a megabyte.
    told = "\n".join(line[:300] for line in done.stdout.splitlines())
    assert done.returncode == 0, told[-20_000:]
    (number,) = re.findall(r"^\s*(\d+) generated", done.stdout, re.MULTILINE)
    # And the server goes on, without a death or a traceback in between.
    assert served.ask("GET", "/v2/health/ready").status == 200
    assert not [each for each in served.events() if each["event"] == "worker died"]
    assert "Traceback" not in served.log.read_text()
    return int(number)


def test_what_is_sent_by_the_document_is_answered_by_it(served: Served) -> None:
    assert cases(served, "shop", 8) >= 500


def test_changes_of_models_are_refused_with_a_documented_status(served: Served) -> None:
    # Each artifact that is named is opened by a process of its own.
    assert cases(served, "ops", 5, "--include-path-regex", "^/admin/") >= 20


@pytest.mark.nightly
def test_five_thousand_cases(served: Served) -> None:
    assert cases(served, "shop", 250) >= 5000
