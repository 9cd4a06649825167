"""A plug-in that is broken in its own way is named, with what it should be; no traceback, and no silence."""

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call, mistake
from tiny_models import cnn, pixels

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.exporters.writing import write_graphs
from limbeck.quantization.fake import FakeQuantizer

LOSS = '''"""A loss."""

from limbeck.losses import PlainLoss, masked_mean


class Mine(PlainLoss):
    """A loss of somebody else."""

    reads = ("logits",)

    def __init__(self, power: float = 2.0) -> None:
        self.power = power

    def __call__(self, student, teacher, batch, progress):
        distance = (student.logits - teacher.logits.detach()).abs() ** self.power
        return masked_mean(distance.sum(-1), student.mask)
'''
RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 2, depth: 1, epochs: 1}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 1, threads: 1, device: cpu}
distill: {losses: {mine: {}}}
verdict: {arms: [kd]}
"""
Offer = Callable[..., None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Installs a module `offered` with an entry point `mine`."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(text: str, family: str = "losses", target: str = "offered:Mine") -> None:
        (tmp_path / "offered.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        sys.modules.pop("offered", None)
        point = EntryPoint("mine", target, f"limbeck.{family}")
        monkeypatch.setattr(registry, "entry_points", EntryPoints([point]).select)

    yield install
    sys.modules.pop("offered", None)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The last line of what a command says that ends with 2."""
    return lambda *arguments: mistake(capsys, *arguments).splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("raise RuntimeError('no licence')", "offered:Mine", "RuntimeError: no licence"),
        ("raise SystemExit(0)", "offered:Mine", "cannot be imported: SystemExit: 0"),
        ("raise OSError('libfoo.so')", "offered:Mine", "plug-in `mine` (offered:Mine) cannot be"),
        ("import nope", "offered:Mine", "No module named 'nope'"),
        ("def", "offered:Mine", "cannot be imported: SyntaxError"),
        ("def mine(*_): ...", "offered:mine", "is a function, not a class"),
        (LOSS + "\n\nthing = Mine()", "offered:thing", "is a Mine, not a class"),
        (LOSS, "offered", "is a module, not a class"),
        ("class Mine:\n    pass", "offered:Mine", "it has no `reads`; it has no `labels`"),
        (LOSS.replace("reads =", "read ="), "offered:Mine", "not complete: it has no `reads`"),
        (
            LOSS.replace(", batch, progress", ""),
            "offered:Mine",
            "its `__call__` does not take (student, teacher, batch, progress)",
        ),
        (LOSS.replace("power: float", "power"), "offered:Mine", "key `power` cannot be checked"),
        (LOSS.replace("float", "'Unknown'"), "offered:Mine", "types of its keys cannot be read"),
        (LOSS.replace("float", "PlainLoss"), "offered:Mine", "key `power` cannot be checked"),
        (LOSS.replace("power:", "weight:"), "offered:Mine", "the key `weight` is taken"),
    ],
)
def test_a_class_that_is_none_is_told_before_anything_runs(
    text: str, target: str, message: str, offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    offer(text, target=target)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    told = refused("check", recipe)
    assert message in told
    assert "mine" in told


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("return masked", "return None and masked", "the loss `mine` returned a NoneType"),
        ("return masked", "return 1.0 or masked", "the loss `mine` returned a float"),
        (
            "return masked",
            "return distance.sum((0, 1)) if 1 else masked",
            "a tensor of shape (10,)",
        ),
        (
            "student.mask)",
            "student.mask).long()",
            "the loss `mine` returned a tensor of torch.int64",
        ),
        ("student.mask)", "batch.nothing)", "mine` failed in `__call__`"),
        ("return masked", "return {}['x'] if 1 else masked", "KeyError: 'x'"),
        ("= power", "= {}['y']", "KeyError: 'y'"),
        ("return masked", "raise SystemExit(0)\n        masked", "failed in `__call__`"),
        ("student.mask)", "student.mask).view(7, 7)", "losses: the plug-in `mine` failed in"),
    ],
)
def test_code_that_fails_or_returns_something_else_is_named(
    before: str,
    after: str,
    message: str,
    offer: Offer,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    offer(LOSS.replace(before, after))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert message in refused("check", recipe)
    assert message in refused("run", recipe, "--out", tmp_path / "run")


def test_a_misspelt_group_is_told(
    offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    offer(LOSS, family="loss")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert "offers one in the group `limbeck.loss`, which is none of ours" in refused(
        "check", recipe
    )


def test_a_broken_plug_in_that_nobody_names_breaks_nothing(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = LOSS.replace("power: float = 2.0", "power: list[int] = PlainLoss()")
    for text in ("raise SystemExit(0)", LOSS.replace("float", "'Unknown'"), factory):
        offer(text)
        for verb in (["list"], ["list", "losses"], ["schema"]):
            assert call(*verb) == 0, capsys.readouterr()


RANGE = """
from limbeck.quantization.ranges.minmax import Minmax


class Mine(Minmax):
    def fit(self):
        scale, zero = super().fit()
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returned NoneType from `fit`"),
        ("scale", "returned Tensor from `fit`"),
        ("(float(scale), 0.0)", "returned tuple from `fit`"),
        ("(scale.sum(), zero)", r"a scale of shape \(\); 1 groups were observed"),
        ("(scale * float('nan'), zero)", "a scale that is not finite"),
        ("(scale, zero / 0)", "a zero point that is not finite"),
        ("(-scale, zero)", "a scale that is not above 0"),
    ],
)
def test_a_range_that_fits_nothing_is_named(returned: str, message: str, offer: Offer) -> None:
    offer(RANGE.replace("RETURNED", returned), family="ranges")
    quantizer = FakeQuantizer(GRIDS["uint8"], registry.load("ranges", "mine"))
    quantizer.begin()
    quantizer(torch.linspace(-1, 2, 50))
    with pytest.raises(ValueError, match=f"the range `Mine` .*{message}"):
        quantizer.finish()


EXPORTER = """
class Mine:
    runtimes = ("onnxruntime",)
    needs = {}

    def export(self, model, inputs, folder):
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returned None from `export`"),
        ("'model.onnx'", "it is to return the file of each of its runtimes: onnxruntime"),
        ("{'openvino': 'model.onnx'}", "of each of its runtimes: onnxruntime"),
        ("{'onnxruntime': 'model.onnx'}", "names the file 'model.onnx' and did not write it"),
    ],
)
def test_an_exporter_that_writes_nothing_is_named(
    returned: str, message: str, offer: Offer, tmp_path: Path
) -> None:
    offer(EXPORTER.replace("RETURNED", returned), family="exporters")
    with pytest.raises(ValueError, match=f"the exporter `mine` .*{message}"):
        write_graphs(cnn(8), ["mine"], pixels(2), tmp_path)


RUNTIME = """
class Mine:
    needs = {}
    allowed_flips = 0.001

    def open(self, path, threads):
        return lambda inputs: RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "NoneType"),
        ("[[1.0, 2.0]] * 3", "list"),
        ("inputs['x'][:, 0]", r"\(3,\)"),
        ("inputs['x'][:2]", r"\(2, 4\)"),
    ],
)
def test_a_runtime_that_answers_no_logits_is_named(
    returned: str, found: str, offer: Offer, tmp_path: Path
) -> None:
    offer(RUNTIME.replace("RETURNED", returned), family="runtimes")
    graph = open_graph(tmp_path, "mine", 1)
    with pytest.raises(ValueError, match=f"the runtime `mine` answered 3 rows with {found}"):
        graph({"x": np.zeros((3, 4), np.float32)})


def test_a_choice_by_trial_passes_over_what_is_broken(offer: Offer) -> None:
    from limbeck.pipeline.steps.quantizing import _all_tried

    offer("class Mine:\n    pass", family="roundings")
    tried = _all_tried()
    assert ("roundings", "nearest") in tried
    assert ("roundings", "mine") not in tried
