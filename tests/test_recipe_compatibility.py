"""What the components of a recipe refuse, each told with its place, and the defaults that they write."""

from pathlib import Path
from typing import Any

import pytest

from limbeck.core import registry
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe import reading
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.recipe.validate import early_quantization

pytest.importorskip("torch")  # most components here need it

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


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0", "above 0 throughout"),
        ("'linear(2, 0)'", "above 0 throughout"),
        ("warm", "a number, linear(from, to), "),
        ("true", "a number, linear("),
    ],
)
def test_a_wrong_temperature_is_told_under_its_own_key(written: str, told: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"r\.yaml:7:25: distill\.losses\.kl\.temperature: `temperature` of `kl` \(losses\) is ",
    ) as error:
        compatibility.check_components(
            parse(f"distill: {{losses: {{kl: {{temperature: {written}}}}}}}\n")
        )
    assert f": Input should be {told}" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "start", "hint"),
    [
        (
            "model: large",
            "model: large, epoch: 2",
            "r.yaml:3:25: teacher.epoch: `large` is none of our networks (mlp, mobilenet_v2, ngrams, resnet18, resnet50, small_cnn), and only these take keys. ",
            "Did you mean `epochs`? Choices: model, weight, epochs, placement, learning_rate",
        ),
        (
            "model: large",
            "model: small_cn, width: 2",
            "r.yaml:3:11: teacher.model: `small_cn` is none of our networks. ",
            "Did you mean `small_cnn`? Choices: mlp, mobilenet_v2, ngrams",
        ),
        (
            "model: large",
            "model: small_cnn, epoch: 2",
            "r.yaml:3:29: teacher.epoch: `small_cnn` (networks) has no key `epoch`. ",
            "Did you mean `epochs`? Choices: model, weight, epochs, placement, learning_rate, tries, width, depth",
        ),
        (
            "model: large",
            "model: small_cnn, width: big",
            "r.yaml:3:29: teacher.width: `width` of `small_cnn` (networks) is 'big': ",
            "Input should be a valid integer",
        ),
        (
            "from: teacher, surgery: drop_layers, layers: 3",
            "model: small_cnn, widht: 3",
            "r.yaml:4:29: student.widht: `small_cnn` (networks) has no key `widht`. ",
            "Did you mean `width`? Choices: from, surgery, model, width, depth",
        ),
        (
            "layers: 3",
            "layres: 3",
            "r.yaml:4:48: student.layres: `drop_layers` (surgeries) has no key",
            "Did you mean `layers`?",
        ),
        (
            ", layers: 3",
            "",
            "r.yaml:4:1: student: `drop_layers` (surgeries) needs the key `layers`. ",
            "Its keys: layers",
        ),
        (
            "path:",
            "paht:",
            "r.yaml:2:23: data.paht: `conll` (sources) has no key `paht`. ",
            "Did you mean `path`? Choices: source, on_bad_row, transfer, unlabelled_rows, class_weights, path",
        ),
        (
            "conll",
            "conl",
            "r.yaml:2:8: data.source: sources has no component `conl`. ",
            "Did you mean `conll`?",
        ),
        (
            "task: token",
            "task: tokn",
            "r.yaml:1:1: task: tasks has no component `tokn-",
            "Did you mean `token-classification`?",
        ),
        (
            "train:",
            "distill: {losses: {kl: {temprature: 2}}}\ntrain:",
            "r.yaml:5:25: distill.losses.kl.temprature: `kl` (losses) has no key `temprature`. ",
            "Did you mean `temperature`? Choices: weight, temperature",
        ),
        (
            "train:",
            "quantize: {rnage: lsq}\ntrain:",
            "r.yaml:5:12: quantize.rnage: ",
            "Did you mean `range`? Choices: when, weights",
        ),
        (
            "train:",
            "quantize: {range: lqs}\ntrain:",
            "r.yaml:5:12: quantize.range: ranges has no component",
            "Did you mean `lsq`?",
        ),
    ],
)
def test_a_wrong_component_is_told_with_its_place(
    old: str, new: str, start: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        compatibility.check_components(parse(base=BASE.replace(old, new)))
    assert str(caught.value).startswith(start)
    assert hint in str(caught.value)


@pytest.mark.parametrize("keys", ["range: lsq", "range: pact, when: after", "range: mse"])
def test_a_weight_of_clipping_bounds_without_any_is_refused(keys: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"^r\.yaml:7:12: quantize\.clip_weight: it weighs the clipping bounds that `range: pact` learns",
    ):
        compatibility.check_components(parse(f"quantize: {{clip_weight: 0.1, {keys}}}\n"))


@pytest.mark.parametrize(
    "keys",
    ["range: pact", "range: pact, clip_weight: 0", "range: pact, clip_weight: 'linear(0, 1e-3)'"],
)
def test_a_weight_of_clipping_bounds_is_taken(keys: str) -> None:
    compatibility.check_components(parse(f"quantize: {{{keys}}}\n"))


@pytest.mark.parametrize(
    ("keys", "place", "told"),
    [
        ("progressive: [int8], when: after, weights: int4", "12: quantize.progressive", "formats follow one another while the model trains"),
        ("progressive: [int8], weights: float", "12: quantize.progressive", "bits are reduced to those of an integer format"),
        ("progressive: [int8], weights: fp8-e4m3", "12: quantize.progressive", "bits are reduced to those of an integer format"),
        ("progressive: [int8]", "12: quantize.progressive", "each format must have fewer levels than the one before, and `weights` the fewest, not int8 -> int8"),
        ("progressive: [int4, int8], weights: int2", "12: quantize.progressive", "each format must have fewer levels"),
        ("progressive: [int8, ternary], weights: int2", "12: quantize.progressive", "each format must have fewer levels"),
        ("progressive: [int8], weights: ternary, rounding: ternary", "12: quantize.progressive", "`ternary` "),
        ("switch_at: [0.5], weights: int4", "12: quantize.switch_at", "[0.5] is not one share of the training for each format"),
        ("switch_at: [0.5], progressive: [int8, int4], weights: int2", "12: quantize.switch_at", "[0.5] is not one share"),
        ("switch_at: [0.5, 0.5], progressive: [int8, int4], weights: int2", "12: quantize.switch_at", "[0.5, 0.5] is not one share"),
        ("switch_at: [0.2], progressive: [int8], start: 0.3, weights: int2", "12: quantize.switch_at", "from `start` (0.3) to 1"),
        ("switch_at: [1.0], progressive: [int8], weights: int2", "12: quantize.switch_at", "[1.0] is not one share"),
    ],
)  # fmt: skip
def test_formats_that_cannot_follow_one_another_are_refused(
    keys: str, place: str, told: str
) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        compatibility.check_components(parse(f"quantize: {{{keys}}}\n"))
    assert str(caught.value).startswith(f"r.yaml:7:{place}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        "progressive: [int8, int4]",
        "progressive: [int8], switch_at: [0.5]",
        "progressive: [int8, int3], switch_at: [0.5, 0.9], start: 0.4",
    ],
)
def test_formats_that_follow_one_another_are_taken(keys: str) -> None:
    compatibility.check_components(parse(f"quantize: {{{keys}, weights: ternary}}\n"))


def test_a_wrong_component_of_a_recipe_without_a_text() -> None:
    content = {
        "task": "image-classification",
        "data": {"source": "sklearn"},
        "student": {"model": "small_cnn", "epoch": 1},
    }
    with pytest.raises(ValueError, match=r"^recipe: student\.epoch: "):
        compatibility.check_components(Recipe.model_validate(content))


def test_a_resolved_recipe_holds_its_components_defaults() -> None:
    found = compatibility.resolved(
        reading.parse(
            "task: image-classification\ndata: {source: sklearn}\nteacher: {model: small_cnn, width: 8}\nstudent: {from: teacher, surgery: same}\n"
            "distill: {losses: {kl: {}, hidden: {weight: 2}}}\n"
        )
    )
    assert found.data.options == {"dataset": "digits", "unlabelled": 0.0, "draw": 0}
    assert found.teacher is not None
    assert found.teacher.options == {"width": 8, "depth": 1, "stride": 1}
    assert found.distill is not None
    hidden = {
        "weight": 2.0,
        "layers": 0,
        "map": None,
        "map_by": "uniform",
        "measure": "mse",
        "each": "unit",
    }
    assert found.distill.losses == {"kl": {"temperature": 2.0, "weight": 1.0}, "hidden": hidden}
    assert compatibility.resolved(found) == found


def test_check_components_asks_the_registry_for_every_component(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(family: str, name: str, real: Any = registry.load) -> Any:
        if (family, name) not in asked:
            asked.append((family, name))
        return real(family, name)

    monkeypatch.setattr(registry, "load", load)
    monkeypatch.setattr(registry, "create", lambda *arguments: asked.append(arguments))
    compatibility.check_components(
        parse(
            "distill: {losses: {kl: {temperature: 2.0, weight: 0.5}}}\nquantize: {range: minmax}\nexport: [onnx, openvino]\n"
        )
    )
    assert asked == [
        ("tasks", "token-classification"),
        ("sources", "conll", {"path": "somewhere"}),
        ("losses", "kl", {"temperature": 2.0}),
        ("surgeries", "drop_layers", {"layers": 3}),
        ("ranges", "minmax"),
        ("roundings", "nearest", {}),
        ("exporters", "onnx"),
        ("exporters", "openvino"),
        ("losses", "kl"),  # whether it reads what this task's model says
        ("roundings", "nearest", {}),  # whether it can act while training
        ("exporters", "onnx"),  # whether they write this task
        ("exporters", "openvino"),
    ]


def test_a_metric_that_the_task_lacks_is_refused_before_any_work() -> None:
    """The verdict's metric is one of the task's; left open, it is written out as the task's own."""
    path = Path(__file__).parents[1] / "recipes" / "image-classification-digits-joint.yaml"
    assert compatibility.resolved(read(path)).verdict.metric == "accuracy"  # type: ignore[union-attr]
    assert compatibility.resolved(read(path, ["verdict.metric=auc"])).judged_metric == "auc"
    with pytest.raises(
        ValueError,
        match=r"verdict\.metric: `image-classification` has no metric `auk`\. Did you mean `auc`\?",
    ):
        compatibility.check_components(read(path, ["verdict.metric=auk"]))
    # What is right for none of the task's metrics is told in the same round.
    with pytest.raises(ValueError, match=r"has no metric `xyz`") as refused:
        compatibility.check_components(read(path, ["verdict.metric=xyz", "verdict.max_drop=5"]))
    assert "every drop is at most 5" in str(refused.value)


@pytest.mark.parametrize(
    ("student", "quantize", "is_told"),
    [
        ("{model: small_cnn}", "{when: train}", True),
        ("{model: small_cnn}", "{when: train, start: 0.5}", False),
        ("{model: small_cnn}", "{when: after}", False),
        # Weights that have learned something already: of a teacher, or of a published model.
        ("{from: teacher, surgery: same}", "{when: train}", False),
        ("{model: some/folder}", "{when: train}", False),
    ],
)
def test_random_weights_that_are_quantized_at_once_are_told(
    student: str, quantize: str, is_told: bool
) -> None:
    recipe = parse(
        "{task: image-classification, data: {source: sklearn}, teacher: {model: small_cnn}, "
        f"student: {student}, distill: {{losses: {{kl: {{}}}}}}, quantize: {quantize}}}",
        base="",
    )
    lines = early_quantization(recipe)
    assert bool(lines) == is_told
    assert not is_told or "Write quantize.start=0.5" in lines[0]
