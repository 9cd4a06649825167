"""What a stage's key covers: a changed component runs exactly the stages again that depend on it."""

import importlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import toy_images
from toy_images import images

import limbeck
from limbeck.core import plug_ins
from limbeck.core.cache.store import Store
from limbeck.core.events import Event, Note
from limbeck.pipeline.code import code_digest
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.runs import run_arms
from limbeck.recipe.reading import parse

RECIPE = f"""{toy_images.RECIPE}
distill: {{losses: {{LOSS: {{}}}}}}
quantize: {{when: train, range: lsq, start: 0.5}}
verdict: {{arms: [plain, kd, joint], seeds: 1, latency_rows: 2}}
"""
ALL = {
    "baseline",
    "teacher",
    "student",
    "label",
    "train (plain, seed 0)",
    "train (kd, seed 0)",
    "train (joint, seed 0)",
    "evaluate",
    "export",
}
PLUGIN = '''"""A loss of somebody else."""

from typing import ClassVar

from limbeck.losses import PlainLoss, masked_mean


class Distant(PlainLoss):
    """No keys."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, student, teacher, batch, progress):
        return masked_mean((student.logits - teacher.logits.detach()).square().sum(-1), student.mask)
'''


def stages_run(loss: str = "kl") -> dict[str, int]:
    """How often each stage was built, and not found, by a run of the recipe."""
    recipe = compatibility.resolved(parse(RECIPE.replace("LOSS", loss)))
    context = RunContext(recipe, Store(), rows={"train": images(60)})
    run_arms(context)
    names = [record["name"] for record in context.store.records if not record["reused"]]
    return {name: names.count(name) for name in names}


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Changes the code of a module, as far as keys can see."""

    def changed(module: str) -> None:
        digest = code_digest.tree_digest
        monkeypatch.setattr(
            code_digest,
            "tree_digest",
            lambda asked: digest(asked) + ("changed" if asked == module else ""),
        )

    return changed


def test_a_changed_component_runs_what_depends_on_it(change: Callable[[str], None]) -> None:
    first = stages_run()
    assert first.keys() == ALL
    assert stages_run() == {}
    # The teacher, the plain arm and what the teacher answered do not depend on a soft loss.
    change("limbeck.losses.kl")
    soft = {"train (kd, seed 0)": 1, "train (joint, seed 0)": 1, "evaluate": 2, "export": 1}
    assert stages_run() == soft
    change("limbeck.quantization.ranges.lsq")
    assert stages_run() == {"train (joint, seed 0)": 1, "evaluate": 1, "export": 1}
    change("limbeck.tasks.image_classification")
    assert stages_run() == first
    change("limbeck.losses.reverse_kl")  # which this recipe does not name
    assert stages_run() == {}


def test_a_changed_plug_in_runs_what_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], None]
) -> None:
    (tmp_path / "somebody.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("distant", "somebody:Distant", "limbeck.losses")
    monkeypatch.setattr(plug_ins, "entry_points", EntryPoints([point]).select)
    importlib.invalidate_caches()
    assert stages_run("distant").keys() == ALL
    change("somebody")
    soft = {"train (kd, seed 0)": 1, "train (joint, seed 0)": 1, "evaluate": 2, "export": 1}
    assert stages_run("distant") == soft
    monkeypatch.delitem(sys.modules, "somebody")


def test_stages_of_an_earlier_layout_are_left_and_told(cache_folder: Path, tmp_path: Path) -> None:
    old = cache_folder / "teacher-0123456789abcdef01234567"
    old.mkdir(parents=True)
    (old / "stage.json").write_text('{"revision": 6}')
    notes: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    text = RECIPE.replace("LOSS", "kl").replace("[plain, kd, joint]", "[plain]")
    limbeck.run(parse(text), tmp_path / "run", rows={"train": images(60)}, tell=tell)
    assert any("cache: 1 stages of an earlier version" in note for note in notes)
    assert (old / "stage.json").read_text() == '{"revision": 6}'


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def digest_afresh(module: str) -> str:
    """As a process that starts now."""
    for function in vars(code_digest).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    importlib.invalidate_caches()
    return code_digest.code_digest([module])


MINE = """
from importlib import import_module
from pathlib import Path

import numpy
from loose import factor

from mine.inner import K


class Mine:
    def __call__(self):
        return import_module("mine.late").table, Path(__file__).with_name("w.json").read_text()
"""


@pytest.mark.parametrize(
    ("name", "before", "after", "counts"),
    [
        ("loose.py", "def factor(): return 1", "def factor(): return 2", True),
        ("mine/inner.py", "K = 1", "K = 2", True),
        ("mine/inner.py", "K = 1", "K = 1  # why", False),
        ("mine/late.py", "table = 1", "table = 2", True),
        ("mine/w.json", "1", "2", True),
        ("mine/.w.json.swp", "1", "2", False),
        ("mine/unrelated.py", "x = 1", "x = 2", False),
        ("setup.py", "raise SystemExit", "raise KeyError", False),
    ],
)
def test_what_a_plug_in_is_made_of_counts(
    on_path: Path, name: str, before: str, after: str, counts: bool
) -> None:
    package = on_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(MINE)
    files = {
        "loose.py": "factor = 0",
        "mine/inner.py": "K = 0",
        "mine/late.py": "",
        "mine/w.json": "",
    }
    for file, text in {**files, name: before}.items():
        (on_path / file).write_text(text)
    first = digest_afresh("mine.mine")
    assert digest_afresh("mine.mine") == first
    (on_path / name).write_text(after)
    assert (digest_afresh("mine.mine") != first) == counts


def test_an_installed_package_counts_by_its_version(
    on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (on_path / "mine.py").write_text("import other\n")
    (on_path / "other.py").write_text("x = 1\n")
    information = on_path / "other-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (information / "RECORD").write_text("other.py,,\n")
    first = digest_afresh("mine")
    (on_path / "other.py").write_text("x = 2\n")
    assert digest_afresh("mine") == first
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2\n")
    assert digest_afresh("mine") != first
    # Installed for editing, it changes without a new version.
    edited = '{"url": "file:///x", "dir_info": {"editable": true}}'
    (information / "direct_url.json").write_text(edited)
    second = digest_afresh("mine")
    (on_path / "other.py").write_text("x = 3\n")
    assert digest_afresh("mine") != second


def test_a_plug_in_may_lie_in_a_zip(on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = on_path / "plug.zip"
    digests = []
    for value in (1, 2):
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("zipped.py", f"x = {value}\n")
        monkeypatch.syspath_prepend(file)
        digests.append(digest_afresh("zipped"))
    assert len(set(digests)) == 2


def test_words_do_not_count_and_code_does(on_path: Path) -> None:
    texts = {
        "one.py": '"""Words."""\n\n\ndef f(x):\n    """More."""\n    return x + 1  # why\n',
        "same.py": '"""Other words."""\ndef f(x):\n    return x + 1\n',
        "other.py": '"""Words."""\n\n\ndef f(x):\n    """More."""\n    return x + 2  # why\n',
    }
    for name, text in texts.items():
        (on_path / name).write_text(text, encoding="utf-8")
    one, same, other = (code_digest.tree_digest(Path(name).stem) for name in texts)
    assert one == same != other


def test_what_is_reached_by_import() -> None:
    reached = code_digest.modules_reached("limbeck.losses.kl")
    assert {"limbeck", "limbeck.losses", "limbeck.losses.kl", "limbeck.models.taps"} <= reached
    assert "limbeck.losses.reverse_kl" not in reached
    assert not any(name.startswith("torch") for name in reached)


def test_the_public_package_is_the_one_that_is_digested() -> None:
    assert code_digest.source_of("limbeck") == Path(limbeck.__file__).read_text("utf-8")
