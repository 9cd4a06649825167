"""`limbeck check` tells every mistake in one round, by line, and `--fix` writes those that are certain."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call

from limbeck.core import wording
from limbeck.core.terminal.told import MOST_LINES, in_lines
from limbeck.core.yaml12 import load_all
from limbeck.pipeline.preflight.check import check
from limbeck.recipe.fixing import fixed
from limbeck.recipe.problems import Problem, WrongRecipe
from limbeck.recipe.reading import draft, parse

RECIPES = Path(__file__).parents[1] / "recipes"

GOOD = """\
# Which intent is it?
task: text-classification
data:
  source: csv
  path: DATA        # a folder
  text: text
  label: intent
teacher: {model: ngrams, epochs: 2}
student:
  model: ngrams
train:
  epochs: 3
  warmup: 0.1
  max_tokens: 64
distill:
  losses:
    kl: {temperature: 2}
quantize:
  when: train
  weights: int4
  range: lsq
verdict:
  arms: [plain, kd, joint]
  max_drop: 0.02
  seeds: 1
export: [onnx]
"""
# By kind: what is written in place of what; the line, the key and words of the message; and what
# `--fix` writes, None where the cure is not certain.
KINDS: dict[str, tuple[str, str, int, str, str, str | None]] = {
    "a component": ("text-classification", "text-clasification", 2, "task", "Did you mean `text-classification`", "text-classification"),
    "a column": ("text: text", "text: txet", 6, "data.text", "no column `txet`", "text: text"),
    "a column of another name": ("label: intent", "label: topic", 7, "data.label", "no column `topic`", None),
    "a key of ours": ("epochs: 2", "epoch: 2", 8, "teacher.epoch", "Did you mean `epochs`", "epochs: 2"),
    "a key instead of another": ("model: ngrams\ntrain", "modle: ngrams\ntrain", 9, "student", "Did you mean `model` by `modle`", "model: ngrams\ntrain"),
    "a type": ("epochs: 3", "epochs: many", 12, "train.epochs", "a whole number, not 'many'", None),
    "a range": ("warmup: 0.1", "warmup: 1.5", 13, "train.warmup", "less than or equal to 1", None),
    "a key twice": ("max_tokens: 64", "max_tokens: 64\n  max_tokens: 32", 15, "max_tokens", "a second time", None),
    "a key of a component": ("temperature", "temprature", 17, "distill.losses.kl.temprature", "Did you mean `temperature`", "temperature"),
    "a pair": ("weights: int4", "weights: int4\n  progressive: [int2]", 21, "quantize.progressive", "fewer levels", None),
    "a pair of stages": ("when: train", "when: train\n  equalize: {hadamard: {}}", 20, "quantize.equalize", "rewritten after its training", None),
    "a component of ours": ("range: lsq", "range: lqs", 21, "quantize.range", "Did you mean `lsq`", "range: lsq"),
    "an arm": ("[plain, kd, joint]", "[plain, kdd, joint]", 23, "verdict.arms.1", "not 'kdd'", "[plain, kd, joint]"),
    "a percentage": ("max_drop: 0.02", "max_drop: 2", 24, "verdict.max_drop", "Write 0.02 for 2 %", "max_drop: 0.02"),
    "an unknown key": ("seeds: 1", "seeds: 1\n  qqq: 1", 26, "verdict.qqq", "unknown key", None),
    "a stage": ("export: [onnx]", "exprot: [onnx]", 26, "exprot", "Did you mean `export`", "export: [onnx]"),
    "an exporter": ("export: [onnx]", "export: [onx]", 26, "export.0", "Did you mean `onnx`", "export: [onnx]"),
}  # fmt: skip
# Each on a line of its own, of which none hides another.
THIRTEEN = ["a component", "a column", "a key of ours", "a type", "a range", "a key twice", "a key of a component",
            "a pair", "an arm", "a percentage", "an unknown key", "an exporter"]  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intents")
    rows = [f"call {number},call\nrain on day {number},weather\n" for number in range(40)]
    (folder / "train.csv").write_text("text,intent\n" + "".join(rows))
    return folder


def written(data: Path, *kinds: str) -> str:
    text = GOOD
    for kind in kinds:
        old, new, *_ = KINDS[kind]
        assert text.count(old) == 1, kind
        text = text.replace(old, new)
    return text.replace("DATA", str(data))


def problems_of(text: str, *overrides: str) -> list[Problem]:
    found = draft(text, origin="r.yaml", overrides=list(overrides))
    return check(found, rehearse=False).problems


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found_with_its_line_and_key(kind: str, data: Path) -> None:
    pytest.importorskip("torch")
    _, _, line, key, words, _ = KINDS[kind]
    (problem,) = problems_of(written(data, kind))
    assert (problem.line, problem.key) == (line, key)
    assert words in problem.message
    assert str(problem).startswith(f"r.yaml:{line}:")


@pytest.mark.parametrize("kind", KINDS)
def test_a_certain_fix_is_written_and_no_other(kind: str, data: Path) -> None:
    pytest.importorskip("torch")
    old, new, _, _, _, cure = KINDS[kind]
    text = written(data, kind)
    changed = fixed(text, problems_of(text))
    assert changed == (text if cure is None else text.replace(new, cure))
    # What was printed as the cure, typed, is right.
    assert cure is None or (cure == old and not problems_of(changed))


def test_thirteen_mistakes_are_told_in_one_round_by_place(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rows = [f"call {number},call\nrain on day {number},weather\n" for number in range(40)]
    (tmp_path / "train.csv").write_text("text,intent\nit pours,\n" + "".join(rows))
    text = written(tmp_path, *THIRTEEN)
    problems = check(draft(text, origin="r.yaml"), rehearse=False).mistakes
    told = "\n".join(problems)
    for kind in THIRTEEN:
        assert KINDS[kind][4] in told, kind
    assert f"{tmp_path}/train.csv:2: intent: no label" in told
    assert len(problems) == len(THIRTEEN) + 1
    lines = [int(each.split(":")[1]) for each in problems if each.startswith("r.yaml")]
    assert lines == sorted(lines)


def test_models_folders_and_runtimes_are_told_with_the_rest(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = written(data, "a range", "an unknown key")
    text = text.replace("model: ngrams, epochs: 2", f"model: {tmp_path}/none, epochs: 2")
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "config.json").write_text('{"model_type": "bert"}')
    text = text.replace("  model: ngrams\n", f"  model: {lacking}\n")
    (tmp_path / "file").write_text("")
    found = draft(text, origin="r.yaml")
    checked = check(found, out=tmp_path / "file" / "run")
    told = "\n".join(checked.mistakes)
    for words in ("there is no folder", "no weights in", "train.warmup", "verdict.qqq", "is a file, so no folder"):  # fmt: skip
        assert words in told
    assert len(checked.mistakes) == 5


def test_a_model_without_a_tokenizer_is_told_with_the_rest(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from encoders import save_encoder

    model = save_encoder(tmp_path / "model", ["call", "rain"], vocabulary=20, width=8, layers=1)
    for file in Path(model).glob("*token*"):
        file.unlink()
    text = written(data, "a range").replace("  model: ngrams\n", f"  model: {model}\n")
    told = check(draft(text, origin="r.yaml")).mistakes
    assert told[0].startswith(f"r.yaml:10:3: student.model: model `{model}`: no tokenizer in ")
    assert told[1].startswith("r.yaml:13:3: train.warmup: ")
    assert len(told) == 2


def test_a_mistake_of_the_command_line_has_its_place_there_and_comes_last(data: Path) -> None:
    found = draft(written(data, "a range"), origin="r.yaml", overrides=["vredict.seeds=2", "seeds"])
    told = WrongRecipe(found.problems).problems
    assert [problem.override for problem in told] == [None, "seeds", "vredict.seeds=2"]
    assert str(told[2]).startswith("override `vredict.seeds=2`: vredict: unknown key. Did you mean")
    # It is not in the file.
    assert fixed(GOOD, found.problems) == GOOD


def test_the_list_is_what_reading_and_running_raise(data: Path) -> None:
    with pytest.raises(WrongRecipe) as caught:
        parse(
            written(data, "a key of ours", "a type", "a range", "an unknown key"), origin="r.yaml"
        )
    assert [problem.line for problem in caught.value.problems] == [12, 13, 26]


def test_what_components_refuse_is_raised_with_what_does_not_fit(data: Path) -> None:
    pytest.importorskip("torch")
    from limbeck.pipeline.preflight.compatibility import check_components

    text = written(data, "a component", "a pair", "a component of ours", "a percentage")
    with pytest.raises(WrongRecipe) as caught:
        check_components(parse(text, origin="r.yaml"))
    assert [problem.line for problem in caught.value.problems] == [2, 21, 22, 25]


def test_what_follows_from_a_mistake_is_not_told(data: Path) -> None:
    """A teacher without a name is still a teacher, and an unknown format no reason for others."""
    text = written(data).replace("{model: ngrams, epochs: 2}", "3")
    assert [problem.key for problem in problems_of(text)] == ["teacher"]
    text = written(data, "a pair").replace("weights: int4", "weights: int5")
    assert [problem.key for problem in problems_of(text)] == ["quantize.weights"]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        # One slip is one mistake, though the key that it hides is required.
        ("tasks: text-classification\nSOURCE\nstudent: {model: ngrams}\n", ["tasks"]),
        ("task: text-classification\nSOURCE\nstudent: {modle: ngrams}\n", ["student"]),
        ("task: text-classification\nSOURCE\nstuden: {model: ngrams}\n", ["studen"]),
        # What lacks a teacher lacks it once.
        (
            "task: text-classification\nSOURCE\nstudent: {from: teacher, surgery: same}\ndistill: {}\nverdict: {}\n",
            ["distill"],
        ),
        # Views without what makes them, where that is broken.
        (
            "task: text-classification\nSOURCE\nstudent: {model: ngrams}\ntrain: {augment: [mixup, flip], views: 2}\n",
            ["train.augment"],
        ),
        # What is wrong in a stage and decides of nothing hides nothing.
        (
            "task: text-classification\nSOURCE\nstudent: {model: ngrams}\nquantize: {equalize: {hadamard: {}}, keep_float: a}\n",
            ["quantize.equalize", "quantize.keep_float"],
        ),
        # Keys of the verdict stand for themselves.
        (
            "task: text-classification\nSOURCE\nteacher: {model: ngrams}\nstudent: {model: ngrams}\nverdict: {arms: [quantized], min_metric: 90}\n",
            ["verdict.arms.0", "verdict.min_metric"],
        ),
        ("task: 3\nSOURCE\nstudent: {model: ngrams}\ndecide: {max_error: 0.1}\n", ["task", "decide"]),
        ("SOURCE\nstudent: 4\ntrain: 5\n", ["task", "student", "train"]),
    ],
)  # fmt: skip
def test_one_mistake_is_told_once(text: str, keys: list[str], data: Path) -> None:
    pytest.importorskip("torch")
    text = text.replace("SOURCE", f"data: {{source: csv, path: {data}}}")
    assert [problem.key for problem in sorted_problems(text)] == keys


def sorted_problems(text: str) -> list[Problem]:
    return WrongRecipe(problems_of(text)).problems


def test_bad_rows_are_told_by_kind_and_counted(tmp_path: Path) -> None:
    rows = ["it pours,", "it drips,", "it snows,,", "it hails,,,", "call,call"]
    (tmp_path / "train.csv").write_text("text,intent\n" + "\n".join(rows) + "\nrain,weather" * 20)
    told = [problem.message for problem in problems_of(written(tmp_path))]
    assert told[0].startswith(f"{tmp_path}/train.csv:2: intent: no label")
    assert "This is the first of 2 such rows." in told[0]
    assert told[1].startswith(f"{tmp_path}/train.csv:4: 3 columns, but the header has 2")
    assert "This is the first of 2 such rows." in told[1]
    assert len(told) == 2


def test_columns_that_are_not_certain_are_all_told(data: Path) -> None:
    text = written(data, "a column of another name").replace("text: text", "text: title")
    told = [problem.key for problem in problems_of(text)]
    assert told == ["data.text", "data.label"]


def test_a_path_that_is_not_here_is_told_at_its_line(data: Path) -> None:
    (problem,) = problems_of(written(data / "nowhere"))
    assert str(problem).startswith(f"r.yaml:5:3: data.path: `{data}/nowhere` is not here. ")


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text.encode())
    return path


def test_fix_on_the_command_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    text = written(data, "a component", "a percentage", "a type").replace("\n", "\r\n")
    path = recipe_file(tmp_path, text)
    assert call("check", path, "--data-only", "--fix", "--keep-original") == 2
    printed = capsys.readouterr()
    assert "+task: text-classification" in printed.out
    assert "-  max_drop: 2" in printed.out
    assert printed.err.splitlines() == [
        f"limbeck: {path}:12:3: train.epochs: Input should be a whole number, not 'many'"
    ]
    # Comments, layout and the ends of lines stay.
    expected = text.replace("clasification", "classification").replace("drop: 2", "drop: 0.02")
    assert path.read_bytes().decode() == expected
    assert path.with_name("recipe.yaml.orig").read_bytes().decode() == text
    # A second time there is nothing left to write.
    assert call("check", path, "--data-only", "--fix") == 2
    assert path.read_bytes().decode() == expected
    path.write_text(expected.replace("many", "3"))
    assert call("check", path, "--data-only", "--fix") == 0


def test_json_has_the_list_with_places_causes_and_cures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe_file(tmp_path, written(data, "a component"))
    assert call("check", path, "--data-only", "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(path), 2, 1)
    assert problem["key"] == "task"
    assert problem["cause"] == "tasks has no component `text-clasification`"
    assert problem["cure"].startswith("Did you mean `text-classification`?")
    assert problem["fix"] == {"path": ["task"], "name": None, "value": "text-classification"}
    path.write_text("a: b: c\n")
    assert call("check", path, "--json") == 2
    (mistake,) = json.loads(capsys.readouterr().out)["mistakes"]
    assert mistake.startswith(f"{path}:1:5: not valid YAML: ")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_of_ours_is_not_changed(path: Path) -> None:
    text = path.read_text()
    found = draft(text, origin=path.name)
    assert found.problems == []
    assert fixed(text, found.problems) == text


KEYS = ["source", "epochs", "warmup", "max_tokens", "losses", "when", "weights", "range", "arms", "max_drop", "seeds", "export", "train", "teacher", "distill", "quantize", "verdict"]  # fmt: skip


@given(st.sampled_from(KEYS), st.integers(1, 20), st.sampled_from(["drop", "double", "swap"]))
def test_a_slip_is_mended_to_what_it_was_or_left(key: str, place: int, kind: str) -> None:
    place = 1 + place % (len(key) - 1)
    before, letter, after = key[:place], key[place], key[place + 1 :]
    slips = {
        "drop": before + after,
        "double": before + letter + letter + after,
        "swap": before + after[:1] + letter + after[1:],
    }
    text = GOOD.replace(f"{key}:", f"{slips[kind]}:", 1)
    problems = draft(text, origin="r.yaml").problems
    mended = fixed(text, problems)
    assert mended in (text, GOOD)
    # Fixing what was fixed changes nothing.
    assert fixed(mended, draft(mended, origin="r.yaml").problems) == mended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("verdict: {'sedes': 1}\n", "verdict: {'seeds': 1}\n"),
        ('quantize: {weights: "int4", range: lsq, activations: "unit8"} # x\n', 'quantize: {weights: "int4", range: lsq, activations: "uint8"} # x\n'),
        ("quantize: {activations: &a unit8}\n", "quantize: {activations: &a unit8}\n"),
        ("train: {warmup: 5%, weight_decay: '1 %'}\n", "train: {warmup: 0.05, weight_decay: 0.01}\n"),
        ("distill: {task_weight: '0.5'}\n", "distill: {task_weight: 0.5}\n"),
        ("train: {epochs: 3, epoch: 2}\n", "train: {epochs: 3, epoch: 2}\n"),
        ("verdict: {seed: 1}\n", "verdict: {seed: 1}\n"),  # may be train.seed
        ("train: {dtype: float16}\n", "train: {dtype: float16}\n"),
        ("quantize: {weights: int5}\n", "quantize: {weights: int5}\n"),
        ("tran: {epoch: 2}\n", "train: {epochs: 2}\n"),
    ],
)  # fmt: skip
def test_what_is_written_and_what_is_left(text: str, expected: str) -> None:
    beginning = "task: t\ndata: {source: s}\nteacher: {model: a}\nstudent: {model: b}\n"
    problems = draft(beginning + text, origin="r.yaml").problems
    assert problems
    assert fixed(beginning + text, problems) == beginning + expected


def test_a_slip_of_the_keyboard_is_certain_and_another_word_is_not() -> None:
    choices = ["uint8", "uint8-dynamic", "float"]
    assert wording.certain("unit8", choices) == "uint8"
    assert wording.certain("UINT8_dynamic", choices) == "uint8-dynamic"
    for word in ("int8", "uint4", "double", "u", ""):
        assert wording.certain(word, choices) is None
    # As near to two.
    assert wording.certain("leyar", ["layer", "lever"]) is None


@given(st.text("ab`.,: ", min_size=1, max_size=30), st.text("xyz`.,:? ", max_size=900), st.integers(40, 200))  # fmt: skip
def test_a_message_takes_three_lines_and_keeps_its_ends(start: str, rest: str, width: int) -> None:
    message = " ".join(f"{start} {rest} Write this.".split())
    told = in_lines(message, width)
    lines = told.split("\n")
    assert len(lines) <= MOST_LINES
    assert all(len(line) <= width for line in lines)
    assert told.endswith("this.")
    assert told[0] == message[0]


def test_choices_make_room_for_the_hint() -> None:
    choices = ", ".join(f"component_{number}" for number in range(24))
    told = in_lines(f"r.yaml:1:1: key: no such. Did you mean `component_3`? Choices: {choices}", 80)
    assert told == "r.yaml:1:1: key: no such. Did you mean `component_3`?"


def test_repeated_keys_are_all_found() -> None:
    _, content, repeated = load_all("a: 1\na: 2\nb: {c: 1, c: 2}\n", "r.yaml")
    assert content == {"a": 2, "b": {"c": 2}}
    assert sorted(key.name for key in repeated) == ["a", "c"]


def test_a_broken_recipe_is_told_without_torch(data: Path, tmp_path: Path) -> None:
    text = written(data, "a component", "a column", "a range", "a type", "an unknown key")
    path = recipe_file(tmp_path, text)
    code = (
        "import sys; sys.modules['torch'] = None; from limbeck.cli.main import exit_status; "
        f"sys.exit(exit_status(['check', {str(path)!r}, '--data-only']))"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 5
    assert "without torch the keys of these were not checked" in done.stdout
