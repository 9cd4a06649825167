"""An artifact without torch: a folder made by hand, whose graph is a table of numbers that a runtime of the test's own opens."""

import errno
import io
import sys
from dataclasses import replace
from pathlib import Path

import foreign_runtime
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from task_examples import tokenizer_text

import limbeck
from limbeck.artifact import manifest
from limbeck.artifact.manifest import BrokenArtifact
from limbeck.artifact.proof import golden, parity
from limbeck.core.files import file_digest, read_json, write_json
from limbeck.evaluation.scores import quality
from limbeck.reports.summary import parity_lines
from limbeck.tasks import Scored
from limbeck.tasks.text_classification import TextClassification

LABELS = ["place", "person"]
# The logits of a text are the sums of its tokens' rows: ids as in task_examples.VOCABULARY.
ROWS = {"New": (3.0, 0.0), "York": (2.0, 0.0), "Ada": (0.0, 4.0), "lives": (0.5, 0.25)}
TEXTS = ["Ada lives in New York", "New York", "Ada", "lives"]

RUNTIME = '''"""Sums of table rows."""

import numpy as np


class Table:
    """Opens `.npy` files."""

    needs = {"numpy": "pip install numpy"}
    allowed_flips = 0.001

    def open(self, path, threads):
        table = np.load(path)

        def run(inputs):
            mask = inputs["attention_mask"][..., None]
            return (table[inputs["input_ids"]] * mask).sum(1).astype(np.float32)

        return run
'''


@pytest.fixture(autouse=True)
def table_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with the runtime, for this process and for those that it starts."""
    site = tmp_path / "site"
    foreign_runtime.install(site, monkeypatch, name="table", target="Table", source=RUNTIME)


def task() -> TextClassification:
    return TextClassification(LABELS, tokenizer_text())


def table() -> np.ndarray:
    """(tokens, 2) the graph's numbers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_text())
    rows = np.zeros((tokenizer.get_vocab_size(), len(LABELS)))
    for word, logits in ROWS.items():
        rows[tokenizer.token_to_id(word)] = logits
    return rows


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    write_json(folder / "labels.json", LABELS)
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    np.save(folder / "model.npy", table())
    encoded = task().encode([{"text": TEXTS[0]}])[0]
    example = {name: value[None] for name, value in encoded.inputs.items()}
    files = {"table": "model.npy"}
    golden.write(example, files, folder)
    manifest.write(folder, "text-classification", manifest.graphs_of(files))
    return folder


def test_it_answers_raw_texts(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    assert predictor.runtime == "table"
    answer = predictor.predict("Ada lives in New York")
    # 5.5 for a place, 4.25 for a person.
    place = 1 / (1 + np.exp(4.25 - 5.5))
    assert answer["label"] == "place"
    assert answer["probability"] == pytest.approx(place, abs=1e-6)
    assert answer["probabilities"]["person"] == pytest.approx(1 - place, abs=1e-6)
    assert predictor.predict(["Ada"])[0]["label"] == "person"
    with pytest.raises(ValueError, match="int"):
        predictor.predict(7)


@pytest.mark.parametrize(
    "name", ["model.npy", "labels.json", "tokenizer.json", "golden.safetensors"]
)
def test_a_changed_or_missing_file_is_named(artifact: Path, name: str) -> None:
    content = (artifact / name).read_bytes()
    (artifact / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(BrokenArtifact, match=f"{name}: changed since the export"):
        limbeck.load(artifact)
    (artifact / name).unlink()
    with pytest.raises(BrokenArtifact, match=f"`{name}` is missing"):
        limbeck.load(artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "this version of limbeck reads schema 1"),
        ({"task": "text-classificatoin"}, "no package here offers the task `text-classificatoin`"),
        (
            {"task": "their-task", "plug_ins": {"tasks/their-task": "Their.Package"}},
            "The package Their.Package offered it where the artifact was made",
        ),
        ({"task": "their-task", "plug_ins": 3}, "Install the package that offers it"),
        ({"task": ["text-classification"]}, "no package here offers the task"),
        ({"graphs": []}, "names no graph"),
        ({"graphs": [{"runtime": "table"}]}, "not a manifest of limbeck"),
        ({"graphs": [{"runtime": "table", "file": "other.npy"}]}, "leaves a file out"),
        ({"files": {}}, "leaves a file out"),
        ({"files": None}, "not a manifest of limbeck"),
        ({"files": [1, 2]}, "not a manifest of limbeck"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(
    artifact: Path, change: dict[str, object], message: str
) -> None:
    write_json(artifact / "manifest.json", read_json(artifact / "manifest.json") | change)
    with pytest.raises(BrokenArtifact, match=message):
        limbeck.load(artifact)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"schema": 1', "\udcff", "[" * 100_000])
def test_what_is_no_manifest_is_refused(artifact: Path, content: str) -> None:
    (artifact / "manifest.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(BrokenArtifact, match="not a manifest of limbeck"):
        limbeck.load(artifact)


def renewed(folder: Path) -> None:
    """The digests of whoever alters files and manifest alike."""
    content = read_json(folder / "manifest.json")
    content["files"] = {name: file_digest(folder / name) for name in content["files"]}
    write_json(folder / "manifest.json", content)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.json", b'["place"]'),
        ("labels.json", b'["place", "place"]'),
        ("labels.json", b'["place", 3]'),
        ("labels.json", b'["place", "person", "rain"]'),
        ("labels.json", b"{}"),
        ("labels.json", b"[" * 3000),
        ("labels.json", b'"\xff"'),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff\xfe"),
        ("golden.safetensors", b""),
        ("golden.safetensors", b"\x02" + bytes(7) + b"{}"),
        ("golden.safetensors", b"\xff" * 64),
        ("model.npy", b"no numbers"),
        ("model.npy", saved(np.zeros(3))),
        ("model.npy", saved(table()[:-2])),  # the last words of the tokenizer have no row
        ("model.npy", saved(table().repeat(2, 1))),
    ],
)
def test_files_that_do_not_belong_together_are_refused_though_their_digests_hold(
    artifact: Path, name: str, content: bytes
) -> None:
    (artifact / name).write_bytes(content)
    renewed(artifact)
    with pytest.raises(BrokenArtifact):
        limbeck.load(artifact)


def test_golden_inputs_of_another_type_are_refused(artifact: Path) -> None:
    tensors = load_file(artifact / "golden.safetensors")
    tensors["input.input_ids"] = tensors["input.input_ids"].astype(np.int32)
    save_file(tensors, artifact / "golden.safetensors")
    renewed(artifact)
    with pytest.raises(BrokenArtifact, match="makes `input_ids` of another type or shape"):
        limbeck.load(artifact)


def test_large_rows_are_fewer_golden_inputs(artifact: Path) -> None:
    example = {
        "input_ids": np.ones((64, 2000), np.int64),
        "attention_mask": np.ones((64, 2000), np.int64),
    }
    golden.write(example, {"table": "model.npy"}, artifact)
    assert load_file(artifact / "golden.safetensors")["input.input_ids"].shape == (16, 2000)
    one = {name: np.ones((4, 70_000), np.int64) for name in example}
    golden.write(one, {"table": "model.npy"}, artifact)
    assert load_file(artifact / "golden.safetensors")["input.input_ids"].shape == (1, 70_000)


@pytest.mark.parametrize("sizes", [[], [0, 3], [1 << 40], [-1, 4]])
def test_golden_images_of_no_size_are_refused(artifact: Path, sizes: list[int]) -> None:
    tensors = load_file(artifact / "golden.safetensors")
    tensors["shape.pixel_values"] = np.array(sizes, np.int64)
    save_file(tensors, artifact / "golden.safetensors")
    renewed(artifact)
    with pytest.raises(BrokenArtifact, match="are no example of this model's"):
        limbeck.load(artifact)


def test_golden_images_are_made_anew_from_their_shape() -> None:
    """By splitmix64 in Python's whole numbers."""

    def value(number: int) -> float:
        hashed = number * 0x9E3779B97F4A7C15 % 2**64
        hashed = (hashed ^ hashed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        hashed = (hashed ^ hashed >> 27) * 0x94D049BB133111EB % 2**64
        return ((hashed ^ hashed >> 31) >> 48) / 2**14 - 2

    noise = golden.noise((3, 2, 50))
    assert noise.dtype == np.float32
    assert noise.reshape(-1).tolist() == [value(number) for number in range(1, 301)]
    assert abs(noise.mean()) < 0.2 and 1 < noise.std() < 1.3


def test_the_golden_file_of_images_weighs_little(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 % of 58 kB, a float student of small pictures, are 2,900 bytes; its images took 222 kB."""
    answers = np.zeros((1, 10), np.float32)
    monkeypatch.setattr(golden, "open_graph", lambda *_, **__: lambda _: answers)
    images = {"pixel_values": np.ones((4, 3, 224, 224), np.float32)}
    golden.write(images, {"table": "model.npy"}, artifact)
    assert (artifact / "golden.safetensors").stat().st_size < 300
    golden.replay(artifact, lambda inputs: answers + inputs["pixel_values"].std() * 0, "table")


def test_a_failing_disk_is_told_as_that(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(artifact / "model.npy"))

    monkeypatch.setattr("limbeck.artifact.load.open_graph", failing)
    with pytest.raises(OSError, match="Input/output error"):
        limbeck.load(artifact)


def test_a_terabyte_of_zeros_is_not_hashed(artifact: Path) -> None:
    with open(artifact / "model.npy", "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BrokenArtifact, match="1,099,511,627,776 bytes, and at most"):
        limbeck.load(artifact)


def test_a_file_outside_the_folder_vouches_for_nothing(artifact: Path) -> None:
    outside = artifact.parent / "labels.json"
    outside.write_bytes((artifact / "labels.json").read_bytes())
    content = read_json(artifact / "manifest.json")
    content["files"]["../labels.json"] = content["files"]["labels.json"]
    write_json(artifact / "manifest.json", content)
    with pytest.raises(BrokenArtifact, match=r"labels.json` is missing"):
        limbeck.load(artifact)


@pytest.mark.parametrize("labels", [["place"], [*LABELS, "thing"]])
def test_labels_are_as_many_as_the_graph_tells(artifact: Path, labels: list[str]) -> None:
    write_json(artifact / "labels.json", labels)
    manifest.write_again(artifact)
    with pytest.raises(BrokenArtifact, match=rf"has {len(labels)} labels, and the graph tells 2"):
        limbeck.load(artifact)


def test_logits_are_of_a_row(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    with pytest.raises(ValueError, match=r"as `Predictor.row\(input\)` makes it"):
        predictor.logits("Ada")  # type: ignore[arg-type]
    assert predictor.logits(predictor.row("Ada")).shape == (1, 2)


def test_files_behind_links_are_those_of_the_artifact(artifact: Path) -> None:
    """As huggingface_hub's downloads lie in its cache; it was said that the file is missing."""
    store = artifact.parent / "store"
    store.mkdir()
    for number, path in enumerate(sorted(artifact.iterdir())):
        path.rename(store / str(number))
        path.symlink_to(store / str(number))
    assert limbeck.load(artifact).predict("Ada")["label"] == "person"
    (artifact / "labels.json").resolve().write_text("[]")
    with pytest.raises(BrokenArtifact, match="changed since the export"):
        limbeck.load(artifact)


def test_what_is_no_artifact_and_what_it_does_not_offer(artifact: Path) -> None:
    with pytest.raises(ValueError, match=r"no manifest.json here.*A run leaves one in .*artifact"):
        limbeck.load(artifact.parent)
    with pytest.raises(ValueError, match=r"no graph for `tabel`.*`table`"):
        limbeck.load(artifact, runtime="tabel")


def test_a_runtime_that_is_gone_is_said(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not each.endswith("site")])
    with pytest.raises(ValueError, match="no package here offers the runtime `table`"):
        limbeck.load(artifact)


@pytest.mark.parametrize("spoilt", ["sum(1)[:, ::-1]", "sum(1).clip(0, np.nan)", "sum(1)[:, :1]"])
def test_a_machine_that_computes_otherwise_is_refused(
    artifact: Path, tmp_path: Path, spoilt: str
) -> None:
    file = tmp_path / "site" / "table_runtime.py"
    file.write_text(RUNTIME.replace("sum(1)", spoilt))
    del sys.modules["table_runtime"]
    with pytest.raises(BrokenArtifact, match="table computes other answers here"):
        limbeck.load(artifact)


def scored(rows: np.ndarray) -> Scored:
    """What a model with these numbers answers to TEXTS; it is right about three of them."""
    encoded = task().encode([{"text": text} for text in TEXTS])
    logits = np.stack([rows[each.inputs["input_ids"]].sum(0) for each in encoded])
    return Scored(logits.astype(np.float32), np.array([0, 0, 1, 1]), np.arange(5))


def test_a_graph_is_proven_in_a_process_of_its_own(artifact: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": "place"} for text in TEXTS]
    (proof,) = parity.prove(artifact, scored(table()), rows, task(), tmp_path)
    assert (proof["rows"], proof["flips"], proof["holds"]) == (4, 0, True)
    # What it answered is kept: this is what a verdict judges.
    assert np.array_equal(np.load(parity.answers_file(tmp_path, "table")), scored(table()).logits)
    assert proof["max_abs_logit_difference"] == 0
    # A model that answers the other label to every text is not the one that this graph holds.
    (proof,) = parity.prove(artifact, scored(table()[:, ::-1].copy()), rows, task(), tmp_path)
    assert (proof["flips"], proof["agreement"], proof["holds"]) == (4, 0, False)
    assert proof["metric_difference"] == 0.75 - 0.25
    told = "\n".join(parity_lines([proof | {"arm": "joint", "seed": 0}]))
    assert "because 4 of 4 decisions differ, and at most 1 may" in told
    assert "because accuracy differs by +0.5000, and may by 0.2520" in told
    assert "because 4 of 4 answers have logits off by more than 5.0% of their spread" in told


@pytest.mark.parametrize(("change", "holds"), [(0.01, True), (2.9, False), (np.nan, False)])
def test_equal_decisions_over_other_logits_are_no_parity(change: float, holds: bool) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 2)).astype(np.float32)
    logits[:, 0] += np.where(logits[:, 0] > logits[:, 1], 9, -9)
    trained = Scored(logits, rng.integers(0, 2, 4000), np.arange(4001))
    # Both logits of some rows move together, so that every decision stays.
    moved = logits.copy()
    moved[100:110] += change
    proof = parity.compare(trained, replace(trained, logits=moved), task(), "onnxruntime")
    if np.isfinite(change):
        assert proof["flips"] == 0
    assert proof["holds"] is holds
    if change == 2.9:
        assert 100 <= proof["worst_row"] < 110
        assert proof["logit_difference"] == pytest.approx(2.9, rel=1e-5)


# Of 100 answers, which last bits move: how many by .3 and by how many decisions, in three draws.
OWN = [(0, 0), (20, 2), (17, 1)]


@pytest.mark.parametrize(
    ("moved", "by", "flips", "failure"),
    [
        # As last bits do, or a little more often.
        (20, 0.3, 2, None),
        (40, 0.3, 3, None),
        (41, 0.3, 0, None),
        # Too often, too far, or deciding otherwise more often than one decision more.
        (42, 0.3, 0, "42 of 100 answers have logits off by more than 5.0% of their spread, and"),
        (2, 2.9, 0, "2 of 100 answers have logits off by more than"),
        (20, 0.3, 4, "4 of 100 decisions differ, and at most 3 may"),
    ],
)
def test_a_graph_may_move_as_far_as_last_bits_move_the_model(
    moved: int, by: float, flips: int, failure: str | None
) -> None:
    trained = unsteady(0, 0, 0)
    own = parity.differences_of(trained, [unsteady(n, 0.3, k).logits for n, k in OWN], task())
    assert (own.flips, own.far_off, own.largest) == (2, 20, pytest.approx(0.3, abs=1e-6))
    rescored = unsteady(moved, by, flips)
    alone = parity.compare(trained, rescored, task(), "onnxruntime")
    assert not alone["holds"]
    proof = parity.compare(trained, rescored, task(), "onnxruntime", own)
    assert proof["holds"] is (failure is None)
    told = "\n".join(parity_lines([proof | {"arm": "joint", "seed": 0}]))
    assert (failure or "the graph moves no further") in told
    assert "and 2 of 100 decisions, when the last bit" in told


def unsteady(moved: int, by: float, flips: int) -> Scored:
    """100 answers, all right, of logits around 0 and 1; some moved, some that decide otherwise."""
    logits = np.tile(np.float32([1.0, 0.0]), (100, 1))
    logits[50:, 0] = 0.01
    logits[:moved] += np.float32(by)
    logits[100 - flips :] = [0.0, 0.01]
    return Scored(logits, np.zeros(100, np.int64), np.arange(101))


def test_fewer_rows_are_drawn_more_often() -> None:
    """Three draws of three texts met none of the values at an edge, and a third of ten did."""
    assert [parity.num_draws(rows) for rows in (0, 1, 10, 11, 60, 100, 5000)] == [
        *(30, 30, 30, 28, 5, 3, 3),
    ]


def test_the_model_is_asked_what_last_bits_do_where_a_graph_differs(
    artifact: Path, tmp_path: Path
) -> None:
    rows = [{"text": text, "label": "place"} for text in TEXTS]
    answers = scored(table())
    asked = []

    def moved() -> list[np.ndarray]:
        asked.append(1)
        return [answers.logits + 0.5]

    parity.prove(artifact, answers, rows, task(), tmp_path, moved)
    assert asked == []
    # The graph's answers are these less 0.5, which last bits do as well.
    (proof,) = parity.prove(
        artifact, replace(answers, logits=answers.logits + 0.5), rows, task(), tmp_path, moved
    )
    assert asked == [1]
    assert not proof["holds"]


def test_a_graph_that_does_not_load_is_no_proof(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.npy").write_bytes(b"no numbers")
    with pytest.raises(ValueError, match=r"does not load in table: .*model.npy: changed"):
        parity.prove(artifact, scored(table()), [{"text": "Ada"}], task(), tmp_path)


def test_figures_of_the_made_up_model() -> None:
    assert quality(scored(table()), task())["accuracy"] == 0.75
