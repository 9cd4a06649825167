"""Recipes: YAML 1.2 scalars, messages with file, line, column and the nearest key, overrides, relocation, and the round trip."""

import json
import math
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from limbeck.core.yaml12 import load
from limbeck.recipe import reading
from limbeck.recipe.model import Quantize, Recipe, Student, Teacher, Train, Verdict
from limbeck.recipe.reading import read, write

# Line numbers of the messages below count from these six lines.
BASE = """\
task: token-classification
data: {source: conll, path: somewhere}
teacher: {model: large}
student: {from: teacher, surgery: drop_layers, layers: 3}
train:
  epochs: 6
"""


def parse(extra: str = "", *overrides: str, base: str = BASE) -> Recipe:
    return reading.parse(base + extra, origin="r.yaml", overrides=list(overrides))


def message(extra: str = "", *overrides: str, base: str = BASE) -> str:
    with pytest.raises(ValueError, match=r"\S") as caught:
        parse(extra, *overrides, base=base)
    return str(caught.value)


def scalar(text: str) -> Any:
    return load(text, "recipe")[1]


# Scalars.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2e-5", 2e-5),
        ("2E-5", 2e-5),
        ("2.0e-4", 2e-4),
        ("1e3", 1000.0),
        ("-1.5e+3", -1500.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("0.0", 0.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("no", "no"),
        ("No", "No"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("1e", "1e"),
        ("e5", "e5"),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("'2e-5'", "2e-5"),
    ],
)
def test_scalar(text: str, expected: object) -> None:
    value = scalar(text)
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(scalar(".nan"))


@given(
    st.one_of(
        st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
    )
)
def test_scalars_agree_with_json(value: float | bool | None) -> None:
    """JSON is a subset of YAML 1.2: its parser is the oracle."""
    read = scalar(json.dumps(value))
    assert read == value
    assert type(read) is type(value)


@given(
    st.floats(min_value=1e-300, max_value=1e300),
    st.sampled_from(["{:e}", "{:.3e}", "{:g}", "{:f}"]),
)
def test_every_way_to_write_a_float_is_a_number(value: float, style: str) -> None:
    text = style.format(value)
    assert float(scalar(text)) == float(text)


def test_a_number_with_an_exponent_reaches_the_model() -> None:
    assert parse("  learning_rate: 2e-5\n").train.learning_rate == 2e-5


def test_a_word_that_yaml_1_1_reads_as_false_stays_a_word() -> None:
    assert parse(base=BASE.replace("somewhere", "no")).data.options["path"] == "no"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("010", 10), ("0o17", 15), ("1_000", "1_000"), ("1:30", "1:30"), ("0b11", "0b11")],
)
def test_integers_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    assert scalar(text) == expected


@pytest.mark.parametrize("text", ["2024-01-02", "2024-13-45"])
def test_a_date_is_a_word(text: str) -> None:
    assert scalar(text) == text


# Messages.


@pytest.mark.parametrize(
    ("extra", "start", "hint"),
    [
        ("  epochz: 2\n", "r.yaml:7:3: train.epochz: unknown key. ", "Did you mean `epochs`?"),
        ("trian: {epochs: 2}\n", "r.yaml:7:1: trian: unknown key. ", "Did you mean `train`?"),
        (
            "distill:\n  task_wieght: 0\n",
            "r.yaml:8:3: distill.task_wieght: unknown key. ",
            "Did you mean `task_weight`?",
        ),
        (
            "quantize: {}\nverdict: {sedes: 3}\n",
            "r.yaml:8:11: verdict.sedes: unknown key. ",
            "Did you mean `seeds`?",
        ),
        (
            "quantize:\n  modules:\n    'a.*': {weight: int8}\n",
            "r.yaml:9:13: quantize.modules.a.*.weight: unknown key. ",
            "Did you mean `weights`?",
        ),
        (
            "epochs: 1\n",
            "r.yaml:7:1: epochs: unknown key. ",
            "Did you mean `train.epochs` or `teacher.epochs`? Choices: task, data",
        ),
        ("temperature: 1\n", "r.yaml:7:1: temperature: unknown key. Choices", "task, data"),
        ("max_drop:\n", "r.yaml:7:1: max_drop: unknown key. ", "mean `verdict.max_drop`? Choi"),
        (
            "train.epochs: 1\n",
            "r.yaml:7:1: train.epochs: unknown key. ",
            "A file says `train: {epochs: ...}`",
        ),
        (
            "qqq: 1\n",
            "r.yaml:7:1: qqq: unknown key. ",
            "Choices: task, data, augment, teacher, teachers, assistant, student, train, distill, quantize, decide, verdict, export",
        ),
    ],
)
def test_unknown_key(extra: str, start: str, hint: str) -> None:
    told = message(extra)
    assert told.startswith(start)
    assert hint in told


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "  seed: many\n",
            "r.yaml:7:3: train.seed: Input should be a whole number, not 'many'",
        ),
        (
            "  seed: 1.5\n",
            "r.yaml:7:3: train.seed: Input should be a whole number, not 1.5",
        ),
        (
            "  seed: -1\n",
            "r.yaml:7:3: train.seed: Input should be greater than or equal to 0, not -1",
        ),
        (
            "  learning_rate: 0\n",
            "r.yaml:7:3: train.learning_rate: Input should be greater than 0, not 0",
        ),
        (
            "  learning_rate: .nan\n",
            "r.yaml:7:3: train.learning_rate: Input should be a finite number, not nan",
        ),
        (
            "  warmup: 1.5\n",
            "r.yaml:7:3: train.warmup: Input should be less than or equal to 1, not 1.5",
        ),
        (
            "  max_tokens: 7\n",
            "r.yaml:7:3: train.max_tokens: Input should be greater than or equal to 8, not 7",
        ),
        (
            "  dtype: float16\n",
            "r.yaml:7:3: train.dtype: Input should be 'auto', 'float32' or 'bfloat16', not 'float16'",
        ),
        (
            "quantize: {activations: int8}\n",
            "r.yaml:7:12: quantize.activations: Input should be 'uint8', 'uint8-dynamic', 'int8-dynamic' or 'float', not 'int8'",
        ),
        (
            "distill: {}\nverdict: {arms: [plain, kdd]}\n",
            "r.yaml:8:25: verdict.arms.1: Input should be 'plain', 'cut', 'kd', 'ptq', 'qat', 'kd+ptq' or 'joint', not 'kdd'. Write kd",
        ),
        (
            "distill: {losses: {kl: 2}}\n",
            "r.yaml:7:20: distill.losses.kl: Input should be keys with values, such as {key: value}, not 2",
        ),
        (
            "export: onnx\n",
            "r.yaml:7:1: export: Input should be a list, such as [a, b], not 'onnx'",
        ),
        (
            "  seed:\n",
            "r.yaml:7:3: train.seed: Input should be a whole number, and nothing stands here. Fill it in, or leave the key out",
        ),
        ("export: []\n", "r.yaml:7:1: export: an empty list. Name one, or leave the key out"),
        ("1: 2\n", "r.yaml:7:1: 1: Keys should be strings, not 1"),
        (
            "  seed: true\n",
            "r.yaml:7:3: train.seed: Input should be a number, a word, a list or keys, not True",
        ),
        (
            "  warmup: false\n",
            "r.yaml:7:3: train.warmup: Input should be a number, a word, a list or keys, not False",
        ),
        (
            "distill: {task_weight: true}\n",
            "r.yaml:7:11: distill.task_weight: Input should be a number, a word, a list or keys, not True",
        ),
    ],
)
def test_wrong_type_or_range(extra: str, expected: str) -> None:
    assert message(extra) == expected


@pytest.mark.parametrize("stage", ["train", "quantize", "verdict"])
def test_a_stage_is_a_mapping(stage: str) -> None:
    base = BASE[: BASE.index("train:")]
    assert message(f"{stage}: 3\n", base=base).startswith(
        f"r.yaml:5:1: {stage}: Input should be keys with values, such as {{key: value}}, not 3"
    )


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("", "r.yaml: a recipe is a mapping of stages"),
        ("- task\n", "r.yaml: a recipe is a mapping of stages"),
        ("task: [\n", "r.yaml:2:1: not valid YAML: expected the node content"),
        ("train:\n\tseed: 1\n", "r.yaml:2:1: a tab, where YAML takes spaces alone. Use spaces"),
        ("train:\n  seed: 1\n\tepochs: 1\n", "r.yaml:3:1: a tab, "),
        ("task:\t[\n", "r.yaml:1:6: a tab, where YAML takes spaces alone. Use spaces"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2:1: not valid YAML: but found another document"),
        (
            "a: b: c\n",
            "r.yaml:1:5: not valid YAML: mapping values are not allowed here. Put a value",
        ),
        (
            "task: !!python/object/apply:os.getcwd []\n",
            "r.yaml:1:7: not valid YAML: could not determine a constructor",
        ),
        ("b: 1\na: \x07\n", "r.yaml:2: not valid YAML: the character U+0007. Remove it"),
        (
            BASE.replace("source: conll", "sauce: conll"),
            "r.yaml:2:1: data.source: this key is required",
        ),
        (
            BASE.replace("task: token-classification\n", ""),
            "r.yaml:1:1: task: this key is required",
        ),
        (
            BASE.replace("from: teacher, ", ""),
            "r.yaml:4:1: student: say either `from: teacher` with a `surgery`, or `model`",
        ),
        (
            BASE.replace("from:", "model: small, from:"),
            "r.yaml:4:1: student: say either `from: teacher` with a `surgery`, or `model`",
        ),
        (
            BASE.replace("surgery: drop_layers, ", ""),
            "r.yaml:4:1: student: `surgery` goes with `from`, which says what it cuts",
        ),
        (
            BASE.replace("from: teacher", "from: techer"),
            "r.yaml:4:11: student.from: `techer`: did you mean `teacher`?",
        ),
        (
            BASE.replace("teacher: {model: large}\n", ""),
            "r.yaml:3:11: student.from: `student: {from: teacher}` needs a `teacher`. Add",
        ),
    ],
)
def test_wrong_recipe(base: str, expected: str) -> None:
    assert message(base=base).startswith(expected)


@pytest.mark.parametrize(
    ("extra", "needs"),
    [
        (
            "distill: {}\n",
            "4:1: distill: `distill` needs a `teacher`. Add `teacher: {model: NAME}`, or leave `distill` out",
        ),
        (
            "quantize: {}\nverdict: {}\n",
            "5:1: verdict: `verdict` compares with a `teacher`. Add `teacher: {model: NAME}`, or leave `verdict` out",
        ),
        (
            "train: {epochs: 0}\n",
            "4:9: train.epochs: `train.epochs: 0` trains nothing: the student is taken as it is and quantized afterwards. Say 1 or more, or `quantize: {when: after}` without `distill` and `verdict`",
        ),
    ],
)
def test_stages_that_need_each_other(extra: str, needs: str) -> None:
    alone = "task: t\ndata: {source: conll, path: x}\nstudent: {model: small}\n"
    assert message(extra, base=alone) == f"r.yaml:{needs}"


@pytest.mark.parametrize(
    ("stages", "needs"),
    [
        (
            "verdict: {arms: [plain, joint]}\n",
            "the arm `joint` is quantized, and there is no `quantize`. Add it, or say `verdict: {arms: [plain]}`",
        ),
        (
            "verdict: {arms: [ptq, qat]}\n",
            "the arms `ptq` and `qat` are quantized, and there is no `quantize`. Add it, or leave `arms` out",
        ),
        (
            "quantize: {}\nverdict: {arms: [kd, joint]}\n",
            "the arm `kd` is distilled, and there is no `distill`. Add it, or say `verdict: {arms: [joint]}`",
        ),
        (
            "student: {model: small}\nverdict: {arms: [cut]}\n",
            "the arm `cut` starts from the tuned teacher's layers, and this student does not. Leave it out: `plain` is its control",
        ),
        (
            "teacher: {model: large, epochs: 0}\nverdict: {arms: [plain]}\n",
            "the arm `plain` starts from what was there before the teacher was tuned, and with `teacher: {epochs: 0}` nobody knows what that was. Name it: `student: {from: MODEL, surgery: ...}`; or compare with `cut`, which starts from the teacher's layers",
        ),
    ],
)
def test_an_arm_that_cannot_be_had_is_refused(stages: str, needs: str) -> None:
    keys = {"task": "t", "data": "{source: conll, path: x}", "teacher": "{model: large}"}
    keys["student"] = "{from: teacher, surgery: same}"
    for line in stages.splitlines():
        key, value = line.split(": ", 1)
        keys[key] = value
    text = "".join(f"{key}: {value}\n" for key, value in keys.items())
    told = message(base=text)
    assert re.fullmatch(r"r\.yaml:\d:11: verdict\.arms: .*", told)
    assert told.endswith(f": {needs}")


def test_every_problem_is_told_at_once_by_place() -> None:
    told = message("  d: 1\n  c: 1\n  b: 1\n  a: 1\n").split("\n")
    assert [line.split(": ")[0] for line in told] == [f"r.yaml:{line}:3" for line in (7, 8, 9, 10)]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "teacher: {modle: large}",
            "teacher.model: this key is required. Did you mean `model` by `modle`?",
        ),
        (
            "teachers: [{modle: large}]",
            "teachers.0.model: this key is required. Did you mean `model` by `modle`?",
        ),
        (
            "augment: {metod: replace_by_mask}",
            "augment.method: this key is required. Did you mean `method` by `metod`?",
        ),
        ("teacher: {width: 3}", "teacher.model: this key is required"),
        ("assistant: {modle: small}", "or `model`. Did you mean `model` by `modle`?"),
        ("assistant: {form: teacher, surgery: same}", "Did you mean `from` by `form`?"),
        ("assistant: {from: teacher, surgry: same}", "Did you mean `surgery` by `surgry`?"),
    ],
)
def test_a_missing_key_with_a_slip_beside_it(stage: str, expected: str) -> None:
    """A component's stage takes keys of the component's, so that the slip is no unknown key."""
    base = BASE if stage[0] == "a" else BASE.replace("teacher: {model: large}\n", "")
    told = message(f"{stage}\n", base=base).splitlines()
    assert any(line.endswith(expected) for line in told)


def test_a_wrong_key_of_the_data_is_told_beside_one_of_another_stage() -> None:
    told = message(base=BASE.replace("path:", "pth:").replace("{model: large}", "{modle: large}"))
    lines = told.splitlines()
    assert lines[0].startswith(
        "r.yaml:2:23: data.pth: `conll` (sources) has no key `pth`. Did you mean `path`?"
    )
    assert lines[1].startswith("r.yaml:3:1: teacher.model: this key is required")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "train: {seed: 1}\n",
            "r.yaml:7:1: train: this key is here a second time. Keep one of them",
        ),
        (
            "  seed: 1\n  epochs: 2\n",
            "r.yaml:8:3: epochs: this key is here a second time. Keep one of them",
        ),
        (
            "distill: {losses: {kl: {weight: 1, weight: 2}}}\n",
            "r.yaml:7:36: weight: this key is here a second time. Keep one of them",
        ),
    ],
)
def test_a_repeated_key_is_an_error(extra: str, expected: str) -> None:
    assert message(extra) == expected


@pytest.mark.parametrize(
    "written",
    [
        "[1]",
        "true",
        ".inf",
        "falling",
        "'linear(1.0)'",
        "'linear(1, x)'",
        "'linear(--1, 0)'",
        "'0.5'",
        "'step(1, 0)'",
    ],
)
def test_a_wrong_weight_is_told_once_under_its_own_key(written: str) -> None:
    wrong = "Input should be a number, linear(from, to), cosine(from, to), step(value@share, ...) or ramp(value@share, ...), not "
    told = message(
        f"distill: {{losses: {{kl: {{weight: {written}}}}}}}\nquantize: {{error_weight: {written}}}\n"
    ).split("\n")
    assert len(told) == 2
    assert told[0].startswith(f"r.yaml:7:25: distill.losses.kl.weight: {wrong}")
    assert told[1].startswith("r.yaml:8:12: quantize.error_weight: Input should be a number, ")


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "0.5",
        "'linear(1.0, 0.5)'",
        "'cosine( 1 , -2e-5 )'",
        "'linear(.5,5.)'",
        "'step(0@0, 1@.3)'",
        "'ramp(0@0,1@1)'",
    ],
)
def test_a_weight_that_is_read_is_one_that_the_objective_takes(written: str) -> None:
    from limbeck.core.schedules import schedule

    found = parse(f"distill: {{task_weight: {written}}}\n").distill
    assert found
    assert math.isfinite(schedule(found.task_weight)(0.3))


def test_shares_out_of_order_are_told_under_the_weight_s_key() -> None:
    told = message("distill: {losses: {kl: {weight: 'step(0@0, 1@0.5, 2@0.4)'}}}\n")
    assert told.startswith(
        "r.yaml:7:25: distill.losses.kl.weight: schedule `step(0@0, 1@0.5, 2@0.4)`: the shares after @ must begin at 0 and rise"
    )


def test_infinity_is_out_of_range() -> None:
    assert (
        message("  learning_rate: .inf\n")
        == "r.yaml:7:3: train.learning_rate: Input should be a finite number, not inf"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("!!int ''", "`` is no int"),
        ("!!float ''", "`` is no float"),
        ("!!bool maybe", "`maybe` is no bool"),
        ("!!null 1", "`1` is no null"),
        ("!!timestamp 2024-01-02", "could not determine a constructor for the tag"),
    ],
)
def test_a_wrong_tag_is_the_users_mistake(value: str, told: str) -> None:
    found = message(f"  seed: {value}\n")
    assert found.startswith(f"r.yaml:7:9: not valid YAML: {told}")


def test_an_alias_to_what_it_stands_in_has_no_end() -> None:
    told = message("  seed: &a {b: *a}\n")
    assert told == "r.yaml:7:9: an alias to what it stands in. Write it out"


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 3000 + "]" * 3000, "r.yaml:1: more than 50 keys or lists inside each other"),
        ("".join(f"{' ' * n}a:\n" for n in range(100)), "r.yaml:51:51: more than 50 keys"),
        ("".join(f"{' ' * n}a:\n" for n in range(600)), "more than 50 keys"),
        (LAUGHS, "more than 50,000 keys and values, aliases written out"),
        ("a" * 300_000, "300,000 characters of YAML, and at most 200,000 are read"),
        (f"task: {'9' * 5000}", "r.yaml:1:7: a number of 5,000 digits. Write at most 100"),
    ],
)
def test_yaml_that_is_small_and_is_not_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        reading.parse(text, origin="r.yaml")


# Components.


def test_a_wrong_weight_of_clipping_bounds_is_told_under_its_key() -> None:
    assert message("quantize: {clip_weight: high}\n").startswith(
        "r.yaml:7:12: quantize.clip_weight: Input should be a number, "
    )


# Reading files.


def test_read_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE + "  epochz: 2\n")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}:7:3: train.epochz"):
        read(path)


def test_read_applies_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE)
    assert read(str(path), ["train.epochs=2"]).train.epochs == 2


NO_RECIPE = "no such recipe. `limbeck init DATA` writes one for data of yours"
UNREADABLE = "cannot be read as a recipe: "


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("mine.yaml", None, NO_RECIPE),
        ("m" * 300, None, NO_RECIPE),
        ("latin-1", BASE.replace("somewhere", "où").encode("latin-1"), f"{UNREADABLE}line 2: b'"),
        ("utf-16", BASE.encode("utf-16"), f"{UNREADABLE}it is UTF-16. Save the file as UTF-8"),
    ],
)
def test_read_tells_what_cannot_be_read(
    name: str, content: bytes | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\S") as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "Errno" not in str(caught.value)


def test_a_folder_is_no_recipe_and_what_is_in_it_may_be_one(tmp_path: Path) -> None:
    for name in ("recipe.yaml", "a.yaml"):
        with pytest.raises(ValueError, match=r"it is a folder\. Name a file, such as ") as caught:
            read(tmp_path)
        assert str(caught.value).endswith(str(tmp_path / name))
        (tmp_path / "a.yaml").write_text(BASE)


def test_a_recipe_is_not_read_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^-: .* not read from standard input.*/dev/stdin"):
        read("-")
    (tmp_path / "-").write_text(BASE)
    assert read("-").task == "token-classification"


# Overrides.


@pytest.mark.parametrize(
    ("override", "stage", "key", "expected"),
    [
        ("train.epochs=2", "train", "epochs", 2),
        ("train.learning_rate=2e-5", "train", "learning_rate", 2e-5),
        ("train.seed=3", "train", "seed", 3),
        ("quantize.when=after", "quantize", "when", "after"),
        ("quantize.keep_float=[head, pooler]", "quantize", "keep_float", ["head", "pooler"]),
        ("distill.losses.kl.temperature=4", "distill", "losses", {"kl": {"temperature": 4}}),
        ("distill.task_weight=linear(1.0, 0.5)", "distill", "task_weight", "linear(1.0, 0.5)"),
        ("teacher.model=a=b", "teacher", "model", "a=b"),
    ],
)
def test_override(override: str, stage: str, key: str, expected: object) -> None:
    assert getattr(getattr(parse("", override), stage), key) == expected


@pytest.mark.parametrize(
    "separator",
    [*string.punctuation.replace("~", ""), " ", "\t", "--", " | ", "=>", "...", "---", "# ", " #"],
)
def test_what_stands_between_labels_needs_no_quotes_on_a_command_line(separator: str) -> None:
    """To YAML `#` is a comment, `|` a block and `-` a list: each was another key's value, silently."""
    recipe = parse("", f"data.label_separator={separator}")
    assert recipe.data.options["label_separator"] == separator
    # It is written so that it is read again.
    assert reading.parse(reading.write(recipe)).data.options["label_separator"] == separator


def test_a_column_with_a_hash_is_named_whole_on_a_command_line() -> None:
    recipe = parse("", "data.text=#1 String", "data.label=no # of it", "data.label_separator='#'")
    options = recipe.data.options
    found = (options["text"], options["label"], options["label_separator"])
    assert found == ("#1 String", "no # of it", "#")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", None), ("~", None), ("null", None), ("[]", []), ("{}", {}), ('"~"', "~"), ("'# '", "# ")],
)
def test_nothing_a_list_and_quotes_are_yaml_on_a_command_line_too(
    given: str, expected: Any
) -> None:
    content: dict[str, Any] = {}
    reading._override(content, f"data.x={given}")
    assert content == {"data": {"x": expected}}


def test_a_later_override_wins_and_the_rest_stays() -> None:
    found = parse("  seed: 5\n", "train.epochs=2", "train.epochs=4")
    assert (found.train.epochs, found.train.seed) == (4, 5)


def test_an_override_can_drop_a_stage() -> None:
    assert parse("distill: {}\n", "distill=null").distill is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "train.epochs",
            "override `train.epochs`: write it as key.key=value, for example train.epochs=2",
        ),
        ("task.name=x", "override `task.name=x`: `task` holds no keys"),
        ("train.epochz=2", "unknown key. Did you mean `epochs`?"),
        ("train.epochs=few", "train.epochs: Input should be a whole number, not 'few'"),
    ],
)
def test_wrong_override(override: str, told: str) -> None:
    assert told in message("", override)


@pytest.mark.parametrize(
    ("extra", "overrides", "place"),
    [
        # What an override wrote, whole or in part, is told with it.
        ("", ["epochs=3"], "override `epochs=3`: epochs: unknown key. Did you mean `train.epochs`"),
        ("  seed: 1\n", ["train.seed=x"], "override `train.seed=x`: train.seed: "),
        ("", ["train=3"], "override `train=3`: train: "),
        ("", ["train={seed: x}"], "override `train={seed: x}`: train.seed: "),
        ("", ["trian.seed=1"], "override `trian.seed=1`: trian: unknown key. Did you mean `train`"),
        ("", ["assistant.seed=1"], "override `assistant.seed=1`: assistant: say either "),
        ("", ["train.seed=x", "train.seed=y"], "override `train.seed=y`: train.seed: "),
        # What the file says is told with its line, beside whatever override.
        ("  seed: x\n", ["train.epochs=3"], "r.yaml:7:3: train.seed: "),
        ("  seed: x\n", ["data.path=here"], "r.yaml:7:3: train.seed: "),
    ],
)
def test_a_mistake_of_an_override_is_not_the_files(
    extra: str, overrides: list[str], place: str
) -> None:
    assert message(extra, *overrides).startswith(place)


def test_a_later_check_knows_the_override_too() -> None:
    found = parse("", "distill.losses.kl.temperatur=2").mistake(
        ["distill", "losses", "kl", "temperatur"], "no such key"
    )
    assert str(found).startswith("override `distill.losses.kl.temperatur=2`: distill.losses.kl.")


def test_an_override_that_is_no_yaml_is_the_users_mistake() -> None:
    assert "train.epochs=[1" in message("", "train.epochs=[1")


# Paths.


def test_a_portable_recipe_names_no_place_of_this_machine() -> None:
    found = parse(base=BASE.replace("somewhere", "/home/me/rows")).model_copy(
        update={
            "teacher": Teacher(model="/home/me/models/minilm"),
            "student": Student(model="~/small"),
        }
    )
    written = yaml.safe_load(write(found, portable=True))
    assert (written["data"]["path"], written["teacher"]["model"], written["student"]["model"]) == (
        "rows",
        "minilm",
        "small",
    )
    assert yaml.safe_load(write(found))["data"]["path"] == "/home/me/rows"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (r"C:\Users\me\rows", "rows"),
        ("d:/rows.csv", "rows.csv"),
        (r"\\server\share\rows", "rows"),
        ("rows/of/mine", "rows/of/mine"),
        (r"rows\of\mine", r"rows\of\mine"),
        ("timm:resnet18", "timm:resnet18"),
    ],
)
def test_a_portable_recipe_names_no_place_of_another_system(path: str, kept: str) -> None:
    found = parse().model_copy(update={"teacher": Teacher(model=path)})
    assert yaml.safe_load(write(found, portable=True))["teacher"]["model"] == kept


@pytest.mark.parametrize("head", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_recipe_may_end_its_lines_as_windows_does(tmp_path: Path, head: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes((head + BASE).replace("\n", "\r\n").encode())
    assert read(path) == parse()
    with pytest.raises(ValueError, match=r":7:3: train\.epochz: unknown key"):
        reading.parse((head + BASE + "  epochz: 2\n").replace("\n", "\r\n"))


# The model.


def test_every_default_is_written_out() -> None:
    written = yaml.safe_load(write(parse("quantize: {}\nverdict: {}\ndistill: {}\n")))
    assert written["train"] == {**Train().model_dump(), "epochs": 6}
    assert written["student"] == {
        "from": "teacher",
        "surgery": "drop_layers",
        "model": None,
        "layers": 3,
    }
    assert set(written["quantize"]) == set(Quantize.model_fields)
    assert set(written["verdict"]) == set(Verdict.model_fields)
    assert written["distill"] == {
        "task_weight": 1.0,
        "combine": "mean",
        "balance": "weights",
        "cache": "float16",
        "top_k": None,
        "losses": {"kl": {}},
        "sequence_level": None,
        "on_policy": None,
    }
    assert written["export"] == ["onnx"]


def test_a_recipe_is_frozen() -> None:
    found = parse()
    with pytest.raises(ValueError, match="frozen"):
        found.train.epochs = 1  # type: ignore[misc]


def test_component_keys_are_options() -> None:
    found = parse()
    assert found.data.options == {"path": "somewhere"}
    assert found.student.options == {"layers": 3}


# The round trip.

words = st.text(alphabet="abeinotxyAEN é_-:#'\"{}[],&*!|>%@`\n\t", min_size=1, max_size=12)
numbers = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
options = st.dictionaries(
    words.map("key".__add__),
    st.one_of(words, numbers, st.booleans(), st.none(), st.lists(words, max_size=2)),
    max_size=3,
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A valid recipe as plain data."""
    content: dict[str, Any] = {
        "task": draw(words),
        "data": {"source": draw(words), **draw(options)},
        "teacher": {"model": draw(words), "epochs": draw(st.integers(0, 9))},
        "student": draw(
            st.one_of(
                st.just({"from": "teacher", "surgery": "cut"}),
                words.map(lambda word: {"model": word}),
            )
        ),
        "train": {
            "learning_rate": draw(st.floats(1e-300, 1000)),
            "warmup": draw(st.floats(0, 1)),
            "seed": draw(st.integers(0, 2**63)),
        },
        "distill": {
            "task_weight": draw(
                st.one_of(
                    st.sampled_from(
                        [
                            "linear(1.0, 0.5)",
                            "cosine(1e-5, .5)",
                            "step(0@0, 1@.3)",
                            "ramp(1@0, 1@0.5, 0@1)",
                        ]
                    ),
                    st.floats(0, 1),
                )
            ),
            "losses": draw(st.dictionaries(words, options, max_size=2)),
        },
        "quantize": {
            "keep_float": draw(st.lists(words, max_size=2)),
            "modules": {draw(words): {"weights": "float"}},
        },
        "verdict": {"seeds": draw(st.integers(1, 9))},
    }
    for stage in draw(st.sets(st.sampled_from(["train", "distill", "verdict"]))):
        del content[stage]
    return content


@given(recipes())
def test_what_is_written_is_read_back(content: dict[str, Any]) -> None:
    found = Recipe.model_validate(content)
    text = write(found)
    again = reading.parse(text)
    assert again == found
    assert write(again) == text


@pytest.mark.parametrize(
    "word",
    ["2e-5", "1e5", "1E3", "010", "0o17", "0x1F", "1:30", "2024-01-02", "1_000", "no", "~", ".inf"],
)
def test_a_word_that_reads_as_a_number_is_written_in_quotes(word: str) -> None:
    found = parse(base=BASE.replace("somewhere", f"'{word}'"))
    assert reading.parse(write(found)) == found
    assert yaml.safe_load(write(found))["data"]["path"] == word


def test_a_section_that_quantizes_nothing_is_refused() -> None:
    for keys in ("", "when: after, "):
        with pytest.raises(ValueError, match="so nothing is quantized"):
            parse(f"quantize: {{{keys}weights: float, activations: float}}\n")
    parse("quantize: {weights: float, activations: float, modules: {'*.0': {}}}\n")
