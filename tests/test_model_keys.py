"""What a key holds of models, of the machine and of this process: a change is another key."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_images
from toy_images import images

from limbeck.core.cache.store import Store
from limbeck.core.files import file_digest
from limbeck.core.system import machine
from limbeck.pipeline import runs
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.model_reference import altered_files, folder_reference, reference
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.runs import run_arms
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.reading import parse

RECIPE = f"""{toy_images.RECIPE}
distill: {{losses: {{kl: {{}}}}}}
verdict: {{arms: [kd], seeds: 1, latency_rows: 2}}
"""


def context(*overrides: str, validation: int = 1) -> RunContext:
    recipe = compatibility.resolved(parse(RECIPE, overrides=["train.threads=3", *overrides]))
    rows = {"train": images(48), "validation": images(9, validation), "test": images(9, 2)}
    return RunContext(recipe, Store(), rows=rows)


def asked(run: RunContext) -> dict[str, str]:
    """Title -> entry of every stage of a run."""
    run_arms(run)
    return {record["name"]: record["entry"] for record in run.store.records}


# Models as they lie.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as keys look at it."""
    model = tmp_path / "model"
    (model / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (model / name).write_text("first")
    for name in (
        "pytorch_model.bin",
        "sentencepiece.bpe.model",
        "chat_template.jinja",
        "README.md",
    ):
        (model / name).write_text("first")
    (model / "1_Pooling" / "config.json").write_text("first")
    return model


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pytorch_model.bin", True),
        ("model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", True),
        ("1_Pooling/config.json", True),
        ("chat_template.jinja", True),
        ("README.md", False),
    ],
)
def test_a_file_that_is_overwritten_counts(folder: Path, name: str, counts: bool) -> None:
    """With as many bytes and the old time, as a copy that keeps times leaves it."""
    first = folder_reference(folder)
    path = folder / name
    stat = path.stat()
    path.write_text("other")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (folder_reference(folder) != first) == counts


def test_links_and_copies_are_one_model(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert folder_reference(linked) == folder_reference(folder)
    # In a circle, and to what has no end.
    (linked / "again").symlink_to(linked)
    (linked / "zero").symlink_to("/dev/zero")
    assert folder_reference(linked) == folder_reference(folder)
    (folder / "1_Pooling" / "config.json").write_text("other")
    assert folder_reference(linked) == folder_reference(folder)


def test_a_file_of_the_hubs_cache_that_was_changed_by_hand_counts(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    snapshot = tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    small, large = b"{}", b"weights"
    names = {
        "config.json": hashlib.sha1(b"blob 2\0" + small).hexdigest(),
        "model.safetensors": hashlib.sha256(large).hexdigest(),
    }
    for (name, blob), content in zip(names.items(), (small, large), strict=True):
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(blobs / blob)
    assert altered_files(snapshot) == {}
    (blobs / names["model.safetensors"]).write_bytes(b"flipped")
    (snapshot / "vocab.txt").write_text("put here by hand")
    altered = altered_files(snapshot)
    assert altered.keys() == {"model.safetensors", "vocab.txt"}
    assert altered["model.safetensors"] == file_digest(snapshot / "model.safetensors")


# The machine and the process.


def test_every_stage_computes_with_the_recipes_threads() -> None:
    """The teacher of `run` too, which a fresh process would train with as many as it has cores."""
    run = context()
    threads: dict[str, int] = {}
    run.when_started = lambda stage: threads.update({stage.name: torch.get_num_threads()})
    torch.set_num_threads(1)
    run_arms(run)
    assert set(threads) == {"baseline", "teacher", "student", "label", "train", "evaluate"}
    assert set(threads.values()) == {3}


def test_label_fills_what_run_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a process that has used other threads before."""
    entries: dict[str, set[Any]] = {}
    for verb, threads in (("label", 1), ("run", 2)):
        torch.set_num_threads(threads)
        run = context()
        monkeypatch.setattr(runs, "RunContext", lambda recipe, store, of=run: of)
        if verb == "label":
            runs.label(run.recipe)
        else:
            run_arms(run)
        entries[verb] = {record["entry"] for record in run.store.records}
    assert len(entries["label"]) == 3
    assert entries["label"] < entries["run"]
    reused = {record["entry"] for record in run.store.records if record["reused"]}
    assert entries["label"] <= reused


@pytest.mark.parametrize("name", ["MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OMP_THREAD_LIMIT"])
def test_variables_that_change_the_arithmetic_count(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = machine.numerics()
    monkeypatch.setenv(name, "COMPATIBLE")
    assert machine.numerics() != first


def test_how_torch_was_told_to_compute_counts() -> None:
    run = context()
    first = run.environment()
    torch.set_default_dtype(torch.float64)
    try:
        assert run.environment() != first
    finally:
        torch.set_default_dtype(torch.float32)
    assert run.environment() == first


def test_versions_of_what_computes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine.numerics()
    assert {"torch", "transformers", "tokenizers", "numpy", "pillow"} == first["versions"].keys()
    later = {**machine.versions(), "numpy": "99"}
    monkeypatch.setattr(machine, "versions", lambda: later)
    assert machine.numerics() != first


# What a stage is made of.


def test_weights_that_are_drawn_hang_on_the_seed() -> None:
    folders = [
        prepare_teacher(run.recipe, run).folder
        for run in (context("teacher.epochs=0"), context("teacher.epochs=0", "train.seed=1"))
    ]
    weights = [file_digest(folder / "model.safetensors") for folder in folders]
    assert weights[0] != weights[1]


def test_the_history_of_other_validation_rows_is_not_answered() -> None:
    first = asked(context())
    second = asked(context(validation=7))
    changed = {name for name in first if first[name] != second[name]}
    assert {"teacher", "train (kd, seed 0)"} <= changed


def test_equal_weights_in_another_network_are_another_teacher() -> None:
    """Two models may share every tensor and answer otherwise: by their activation, say."""
    run = context("teacher.epochs=0")
    teacher = prepare_teacher(run.recipe, run)
    first = teacher.content()
    other = run.store.folder / "other"
    other.mkdir()
    for path in teacher.folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    moved = replace(teacher, folder=other)
    assert moved.content() == first
    (other / "history.json").write_text("[{}]")
    assert moved.content() == first
    header = other / "network.json"
    header.write_text(header.read_text().replace('"channels"', '"channels" '))
    assert moved.content() != first


# Entries that were changed.


def test_flipped_weights_are_not_answered_from() -> None:
    """The stage is made anew, with the bytes of before; those that follow are still right."""
    first = asked(context())
    weights = context().store.folder / first["teacher"] / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    run = context()
    assert asked(run) == first
    built = [record["name"] for record in run.store.records if not record["reused"]]
    assert built == ["teacher"]
    assert weights.read_bytes() == right


@pytest.mark.parametrize("name", ["0123456789" * 4, "made-by-hand"])
def test_a_hub_id_counts_by_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """transformers 5.24 tells no config its commit any more: every hub id ended in a traceback."""
    import transformers
    from transformers.utils import hub

    config = transformers.BertConfig()
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *_, **__: config)
    snapshot = folder.rename(tmp_path / name)
    monkeypatch.setattr(hub, "cached_file", lambda _, file: str(snapshot / file))
    first = reference("some/model", {})
    assert first.get("commit") == (name if name.isdigit() else None)
    # What was changed there by hand is seen either way.
    (snapshot / "config.json").write_text("second")
    assert reference("some/model", {}) != first
