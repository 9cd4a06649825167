"""Bytes altered in everything that limbeck leaves on a disk: is every change seen, and in what time?

    python benchmarks/attack.py [--changes 2400] [--runs 216] [--seed 0]

A tiny image model and a tiny text model are trained into artifacts. Then files of the artifacts,
their manifests, entries of a store and a checkpoint are altered: bits flipped, runs set to zero, cut
out, doubled, put in at another place or cut off, in the first, the middle and the last part of each
file. In every second change the digests are written anew, as whoever alters files on purpose would.
Each altered thing is opened, and asked, in a process of its own.

Prints a row for each kind of file:

- refused: the change was seen, and told as BrokenArtifact or in a ValueError.
- made anew: the store or the training put the altered thing aside.
- another: its digests were written anew, and it opens and answers; weights may be others.
- harmless: what was altered holds nothing (a line of space in JSON, say), and the answers are the
  same.
- silent: it answers otherwise although its digests were left as they were.
- failed: any other exception, when it is opened or when it is asked.
- slow, large: over 2 s of the processor, or 300 MB (of a whole run from the cache: over twice what it
  took to make all of it, or 1 GB).

The status is 1 where any change is silent, failed, slow or large.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import limbeck
from limbeck.artifact import manifest
from limbeck.core.cache import entries
from limbeck.core.cache.store import Store
from limbeck.core.files import file_digest, folder_digest, read_json, write_json
from limbeck.core.system.memory import resident_mb
from limbeck.training.checkpoints import (
    DIGEST,
    FILE,
    content_digest,
    read_checkpoint,
    write_checkpoint,
)

SECONDS, MB, RUN_MB = 2.0, 300.0, 1000.0
TOOK = "seconds.txt"  # of the processor, that the run on texts took
STOPPED_AFTER = 10.0  # times as long on the clock: others may fill the machine
OUTCOMES = ("refused", "made anew", "another", "harmless", "silent", "failed", "slow", "large")
BAD = ("silent", "failed", "slow", "large")
TEXTS = ["it rains in York", "call Ada", "it snows", "ring Alan today"]

# What is opened: a copy of the thing and whether its digests were written anew -> an outcome.
Ask = Callable[[Path, bool], str]


@dataclass(frozen=True)
class Target:
    """A file that is altered, in a folder that is copied for each change.

    `renew`: writes the digests of the folder anew; None where there are none to write. `seconds`,
    `mb`: what asking may take.
    """

    name: str
    folder: Path
    file: str
    ask: Ask
    renew: Callable[[Path], None] | None
    seconds: float = SECONDS
    mb: float = MB


def altered(content: bytes, chance: random.Random) -> bytes:
    """The content with one change in its first, middle or last part."""
    size = max(len(content), 1)
    part = chance.randrange(3)
    at = min(size - 1, part * size // 3 + chance.randrange(max(size // 3, 1)))
    length = chance.choice((1, 2, 8, 64, 1024))
    run = content[at : at + length]
    rest = content[at + length :]
    kind = chance.choice(("flip", "flip", "flip", "zero", "cut", "double", "move", "end", "noise"))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    if kind == "zero":
        return content[:at] + bytes(len(run)) + rest
    if kind == "noise":
        return content[:at] + chance.randbytes(len(run)) + rest
    if kind == "cut":
        return content[:at] + rest
    if kind == "double":
        return content[:at] + run + run + rest
    if kind == "end":
        return content[:at]
    without = content[:at] + rest
    to = chance.randrange(len(without) + 1)
    return without[:to] + run + without[to:]


# Artifacts.


def train_images(home: Path) -> Path:
    """The artifact of a small network on digits."""
    recipe = limbeck.parse(
        "task: image-classification\ndata: {source: sklearn, dataset: digits}\n"
        "student: {model: small_cnn, width: 4}\ntrain: {epochs: 1, threads: 1}\n"
        "quantize: {when: train}\n"
    )
    limbeck.run(recipe, home / "images")
    return home / "images" / "artifact"


def train_texts(home: Path) -> Path:
    """The artifact of a tiny encoder on twenty-four texts; its cache lies beside it."""
    os.environ["LIMBECK_CACHE"] = str(home / "cache")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for t in TEXTS for w in t.split()})]  # fmt: skip
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=32)  # fmt: skip
    BertModel(config).save_pretrained(home / "encoder")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", model_max_length=32).save_pretrained(home / "encoder")  # fmt: skip
    lines = [f"{text},{'weather' if 'it' in text else 'call'}" for text in TEXTS * 8]
    (home / "train.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    (home / "test.csv").write_text("\n".join(["text,label", *lines[:8]]) + "\n")
    began = time.process_time()
    limbeck.run(limbeck.parse(texts_recipe(home)), home / "texts")
    (home / TOOK).write_text(str(time.process_time() - began))
    return home / "texts" / "artifact"


def texts_recipe(home: Path) -> str:
    """A recipe for the texts and the encoder in a folder."""
    return (
        f"task: text-classification\ndata: {{source: csv, path: {home}}}\n"
        f"student: {{model: {home / 'encoder'}}}\n"
        "train: {epochs: 1, threads: 1, dtype: float32}\nquantize: {when: train}\n"
    )


def answers(folder: Path) -> list[str]:
    """What an artifact answers to a few inputs, as JSON."""
    model = limbeck.load(folder)
    inputs: list[Any] = [*TEXTS, "it rains " * 50, "\u00e9\U0001f600", "York " * 300]
    if model.reads_images:
        generator = np.random.default_rng(0)
        sizes = ((8, 8), (1, 1), (30, 12))
        inputs = [generator.integers(0, 256, size, np.uint8) for size in sizes]
    return [json.dumps(model.predict(each)) for each in inputs]


def ask_artifact(expected: list[str]) -> Ask:
    def ask(folder: Path, renewed: bool) -> str:
        try:
            given = answers(folder)
        except ValueError:  # a BrokenArtifact is one; so is a runtime that nobody offers
            return "refused"
        if renewed:
            return "another"
        return "harmless" if given == expected else "silent"

    return ask


def renew_manifest(folder: Path) -> None:
    """Write the digests of every file that the manifest names anew."""
    content = read_json(folder / manifest.MANIFEST)
    for name in content["files"]:
        content["files"][name] = file_digest(folder / name)
    write_json(folder / manifest.MANIFEST, content)


# The store and checkpoints.


def fill(folder: Path) -> None:
    """A stage's files."""
    generator = np.random.default_rng(0)
    np.save(folder / "weights.npy", generator.standard_normal(4000))
    write_json(folder / "plan.json", {"layers": list(range(400))})


def store_targets(home: Path) -> list[Target]:
    Store(home).stage("training", {"seed": 0}, fill)
    (entry,) = (path.name for path in home.iterdir() if path.name.startswith("training-"))
    whole = {path.name: path.read_bytes() for path in sorted((home / entry).iterdir())}

    def ask(folder: Path, renewed: bool) -> str:
        before = {path.name: path.read_bytes() for path in (folder / entry).iterdir()}
        try:
            found = Store(folder).stage("training", {"seed": 0}, fill)
        except ValueError:
            return "refused"
        if renewed:
            return "another"  # as whoever writes new digests may have it
        now = {path.name: path.read_bytes() for path in sorted(found.iterdir())}
        content = {name for name in whole if name in ("weights.npy", "plan.json")}
        if any(now.get(name) != whole[name] for name in content):
            return "silent"
        return "harmless" if now == before else "made anew"

    def renew(folder: Path) -> None:
        (folder / entry / entries.FILES).unlink()
        entries.seal(folder / entry, entry)

    return [
        Target(
            f"store: {name}", home, f"{entry}/{name}", ask, None if name == entries.FILES else renew
        )
        for name in whole
    ]


def run_texts(home: Path, out: Path) -> list[Any]:
    """The run of `train_texts` again, from what the cache has: figures, and the artifact's digest."""
    report = limbeck.run(limbeck.parse(texts_recipe(home)), out)
    seeds = report["arms"]["qat"]["seeds"]
    return [seeds, report["layers"], report["parity"], folder_digest(out / "artifact")]


def cache_targets(home: Path, cache: Path, figures: list[Any]) -> list[Target]:
    """Every file of every entry that the run on texts left: a change is met by the same run again.

    `figures`: what the run found; a change that was seen leaves them as they are.
    """

    def ask(folder: Path, renewed: bool) -> str:
        os.environ["LIMBECK_CACHE"] = str(folder)
        try:
            again = run_texts(home, folder.with_name(f"{folder.name}-run"))
        except ValueError:
            return "refused"
        if renewed:
            return "another"
        return "made anew" if again == figures else "silent"

    targets = []
    seconds = 2 * float((home / TOOK).read_text())
    for entry in sorted(path for path in cache.iterdir() if path.name != "locks"):
        for name, _ in entries.files_of(entry):

            def renew(folder: Path, entry: str = entry.name) -> None:
                (folder / entry / entries.FILES).unlink()
                entries.seal(folder / entry, entry)

            file = f"{entry.name}/{name}"
            stage, _, _ = entry.name.partition("-")
            targets.append(
                Target(f"cache: {stage}/{name}", cache, file, ask, renew, seconds, RUN_MB)
            )
    return targets


def layer() -> tuple[dict[str, torch.nn.Module], torch.optim.Optimizer]:
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 4))
    return {"model": module}, torch.optim.AdamW(module.parameters())


def checkpoint_targets(home: Path) -> list[Target]:
    modules, optimizer = layer()
    modules["model"](torch.ones(1, 30)).sum().backward()
    optimizer.step()
    write_checkpoint(home, modules, optimizer, step=5, history=[{"loss": 0.25}])
    weights = modules["model"][0].weight.detach().clone()  # type: ignore[index]

    def ask(folder: Path, renewed: bool) -> str:
        fresh, theirs = layer()
        before = fresh["model"][0].weight.detach().clone()  # type: ignore[index]
        try:
            step, _ = read_checkpoint(folder, fresh, theirs)
        except ValueError:
            return "refused"
        now = fresh["model"][0].weight  # type: ignore[index]
        if step == 0:
            return "made anew" if torch.equal(now, before) else "silent"
        if renewed:
            return "another"
        return "harmless" if torch.equal(now, weights) else "silent"

    return [Target("checkpoint", home, FILE, ask, renew_checkpoint)]


def renew_checkpoint(folder: Path) -> None:
    """Write the checkpoint's digest anew, where it can still be read."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    with contextlib.suppress(SafetensorError, KeyError, ValueError, TypeError):
        with safe_open(folder / FILE, "pt") as file:
            header = dict(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header[DIGEST] = content_digest(tensors, header)
        save_file(tensors, folder / FILE, header)


# One change.


def attempt(target: Target, folder: Path, renewed: bool, sent: Any) -> None:
    """In a process of its own: open the altered thing, and send how it went."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    before = resident_mb()
    began = time.process_time()
    try:
        outcome = target.ask(folder, renewed)
        why = ""
    except BaseException as error:  # of libraries in Rust too, whose panics are no Exceptions
        outcome = "failed"
        why = f"{type(error).__name__}: {error}"[:200]
    seconds = time.process_time() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if seconds > target.seconds:
        outcome = "slow"
    elif most - before > target.mb:
        outcome = "large"
    sent.send((outcome, why, seconds, most - before))


def change(target: Target, number: int, home: Path, chance: random.Random) -> tuple[str, str]:
    """Alter a copy of the target's folder; (outcome, why)."""
    copy = home / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(target.folder, copy)
    file = copy / target.file
    content = file.read_bytes()
    new = altered(content, chance)
    if new == content:
        return "", ""
    file.write_bytes(new)
    renewed = number % 2 == 1 and target.renew is not None
    if renewed and target.renew is not None:
        target.renew(copy)
    received, sent = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=attempt, args=(target, copy, renewed, sent))  # fmt: skip
    process.start()
    sent.close()
    try:
        if not received.poll(STOPPED_AFTER * target.seconds):
            process.kill()
            return "slow", "stopped"
        outcome, why, _, _ = received.recv()
    except EOFError:
        outcome, why = "failed", "the process died"
    process.join()
    return outcome, why


def main() -> int:
    """Make the targets, alter them in turn, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=2400)
    parser.add_argument("--runs", type=int, default=216, help="changes that a run is to meet")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(asked.seed)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ["LIMBECK_CACHE"] = str(home / "cache")
        for part in ("data", "store", "checkpoint"):
            (home / part).mkdir()
        # Trained in processes of their own: threads do not outlive a fork.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            images = pool.apply(train_images, (home,))
            texts = pool.apply(train_texts, (home / "data",))
            expected = {folder: pool.apply(answers, (folder,)) for folder in (images, texts)}
            figures = pool.apply(run_texts, (home / "data", home / "again"))
        targets = [*store_targets(home / "store"), *checkpoint_targets(home / "checkpoint")]
        for title, folder in (("images", images), ("texts", texts)):
            for file in sorted(folder.iterdir()):
                renew = None if file.name == manifest.MANIFEST else renew_manifest
                targets.append(Target(f"{title}: {file.name}", folder, file.name, ask_artifact(expected[folder]), renew))  # fmt: skip
        # What a run imports is imported once: it would be most of the time of each.
        for module in ("transformers", "limbeck.pipeline.runs", "limbeck.exporters.onnx_graph"):
            importlib.import_module(module)
        cached = cache_targets(home / "data", home / "data" / "cache", figures)
        for number in range(asked.changes + asked.runs):
            kind = targets if number < asked.changes else cached
            target = kind[number // 2 % len(kind)]
            outcome, why = change(target, number, home, chance)
            counts.setdefault(target.name, Counter())[outcome] += 1
            if outcome in BAD:
                print(f"change {number} of {target.name}: {outcome} {why}", flush=True)
    print(f"| file | {' | '.join(OUTCOMES)} |\n|---{'|---' * len(OUTCOMES)}|")
    for file_name, counted in counts.items():
        print(f"| {file_name} | {' | '.join(str(counted[each]) for each in OUTCOMES)} |")
    total = sum(counts.values(), Counter())
    print(f"| all {sum(total.values()) - total['']} | {' | '.join(str(total[each]) for each in OUTCOMES)} |")  # fmt: skip
    return 1 if any(total[each] for each in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
