"""A plug-in that is broken in its own way is named, with what it should be; no traceback, and no silence."""

import contextlib
import importlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import call, mistake
from tiny_models import cnn, pixels
from torch import nn

import limbeck
from limbeck.analysis.sensitivities import JudgedModel, check_scores, judge
from limbeck.artifact.manifest import BrokenArtifact
from limbeck.artifact.proof import golden
from limbeck.artifact.runtimes import open_graph
from limbeck.core import contract, plug_ins, registry
from limbeck.core.cache import store
from limbeck.core.errors import Interrupted
from limbeck.core.grids import GRIDS
from limbeck.data import augmenters
from limbeck.data.checks import check_keys
from limbeck.distillation.objective import Objective, Term, check_reach
from limbeck.exporters.writing import is_read, write_golden, write_graphs
from limbeck.models import networks
from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.create import create_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.taps import Outputs, Tap
from limbeck.models.user_model import check_created
from limbeck.pipeline.preflight.check import check
from limbeck.quantization.after_training import apply_rewrite
from limbeck.quantization.equalizers import arrange
from limbeck.quantization.grids_torch import nearest_level
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Normed
from limbeck.quantization.post_training import components_tried
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.quantization.roundings import LAST_BITS, check_levels
from limbeck.quantization.roundings.nearest import Nearest
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import parse
from limbeck.surgeries import Cut, check_cut
from limbeck.tasks import Batch
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

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
        monkeypatch.setattr(plug_ins, "entry_points", EntryPoints([point]).select)

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
        ("import nope", "offered:Mine", "needs: the package that brings `nope`"),
        ("def", "offered:Mine", "offered.py:1). Mend its code there, or remove it: `pip uninstall"),
        ("import sys; sys.exit(3)", "offered:Mine", "offered.py:1). Mend its code there"),
        ("nothing = None.nothing", "offered:Mine", "offered.py:1). Mend its code there"),
        (LOSS, "offered:Your", "An entry point names a module and a class: mine ="),
        ("def mine(*_): ...", "offered:mine", "is a function, not a class"),
        (LOSS + "\n\nthing = Mine()", "offered:thing", "is a Mine, not a class"),
        (LOSS, "offered", "is a module, not a class"),
        (
            "class Mine:\n    pass",
            "offered:Mine",
            "its class has no `reads`; its class has no `labels`",
        ),
        (
            LOSS.replace("reads =", "read ="),
            "offered:Mine",
            "not complete: its class has no `reads`",
        ),
        (LOSS.replace('"logits",', '"logit",'), "offered:Mine", "its `reads` is ('logit',), not"),
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
        (
            "return masked",
            "return None and masked",
            "the loss `mine` returned None from `__call__`",
        ),
        (
            "return masked",
            "return 1.0 or masked",
            "the loss `mine` returned a float from `__call__`",
        ),
        (
            "return masked",
            "return distance.sum((0, 1)) if 1 else masked",
            "a Tensor of shape (10,) and torch.float32",
        ),
        (
            "student.mask)",
            "student.mask).long()",
            "returned a Tensor of shape () and torch.int64",
        ),
        (
            "student.mask)",
            "student.mask).detach()",
            "the loss `mine` has no gradient that reaches the student",
        ),
        ("distance =", "student.logits.mul_(0); distance =", "changes in place what it is given"),
        ("distance =", "teacher.logits.data.zero_(); distance =", "changes in place what it is"),
        (
            "distance =",
            "[value.zero_() for value in batch.inputs.values()]; distance =",
            "changes in place what it is given",
        ),
        (
            "distance =",
            "__import__('torch').manual_seed(0); distance =",
            "leaves torch in another mode",
        ),
        ("student.mask)", "student.mask) / 0", "No weight was changed before it"),
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


@pytest.mark.parametrize("is_leaf", [False, True])
def test_a_gradient_must_reach_what_the_student_gave(is_leaf: bool) -> None:
    weight = torch.ones(2, 1, 3, requires_grad=True)
    logits = weight if is_leaf else weight * 2
    hidden = logits * 3
    mask = torch.ones(2, 1, dtype=torch.bool)
    student = Outputs(logits, mask, {Tap("hidden", "0"): hidden})
    projector = torch.ones(3, requires_grad=True)
    for value in (logits.mean(), (hidden * projector).sum(), 0 * logits.sum() + projector.sum()):
        check_reach("mine", value, student)
    wrong = [
        torch.tensor(logits.mean().item(), requires_grad=True),
        (hidden.detach() * projector).sum(),
    ]
    for value in wrong:
        with pytest.raises(ValueError, match="`mine` has no gradient that reaches the student"):
            check_reach("mine", value, student)
        # Where a student has none itself, as in a forward without gradients, no loss is to blame.
        check_reach("mine", value, Outputs(logits.detach(), mask))


def test_one_that_needs_torch_is_as_one_of_ours_without_it(
    offer: Offer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not to blame."""
    offer("import torch\n" + LOSS)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert call("list", "losses") == 0
    assert "needs the package torch" in " ".join(capsys.readouterr().out.split())
    checked = check(parse(RECIPE), rehearse=False)
    assert checked.ok
    assert checked.lines[-1].startswith("without torch the keys of these were not checked: mine")
    wrong = parse(RECIPE.replace("mine: {}", "mine: {}, minee: {}"))
    (told,) = check(wrong, rehearse=False).mistakes
    assert "Did you mean `mine`" in told


def test_a_misspelt_group_is_told(
    offer: Offer,
    refused: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offer(LOSS, family="loss")
    information = tmp_path / "offered-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[limbeck.loss]\nmine = offered:Mine\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    told = "offered offers `mine` in the group `limbeck.loss`, which is no family. Did you mean"
    assert told in refused("check", recipe)
    assert call("list") == 0
    assert told in " ".join(capsys.readouterr().out.split())


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
from limbeck.quantization.roundings import LAST_BITS, check_levels


class Mine(Minmax):
    def fit(self):
        scale, zero = super().fit()
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returned None from `fit`"),
        ("scale", "returned a Tensor of .* from `fit`"),
        ("(float(scale), 0.0)", "returned a tuple from `fit`"),
        ("(scale.sum(), zero)", r"a scale of shape \(\); 1 groups were observed"),
        ("(scale * float('nan'), zero)", "a scale that is not finite"),
        ("(scale, zero / 0)", "a zero point that is not finite"),
        ("(-scale, zero)", "a scale that is not above 0"),
        ("(scale, zero + 0.3)", r"gave \d+.3 as a zero point; a whole number from 0 to 255"),
        ("(scale, zero - 300)", r"gave -\d+ as a zero point; a whole number from 0 to 255"),
    ],
)
def test_a_range_that_fits_nothing_is_named(returned: str, message: str, offer: Offer) -> None:
    offer(RANGE.replace("RETURNED", returned), family="ranges")
    quantizer = FakeQuantizer(GRIDS["uint8"], registry.load("ranges", "mine"))
    quantizer.begin()
    quantizer(torch.linspace(-1, 2, 50))
    with pytest.raises(ValueError, match=f"the range `mine` .*{message}"):
        quantizer.finish()


RUNTIME = """
class Mine:
    needs = {}
    allowed_flips = 0.001

    def open(self, path, threads):
        return lambda inputs: RETURNED
"""


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
        ("'model.onnx'", "to return a dict of the file of each of its runtimes: onnxruntime"),
        ("{'openvino': 'model.onnx'}", "of each of its runtimes: onnxruntime"),
        ("{'onnxruntime': 'model.onnx'}", "names the file 'model.onnx' and did not write it"),
        (
            "{'onnxruntime': '../out.bin'}",
            "the file '../out.bin'; the name of a file in the folder",
        ),
        ("{'onnxruntime': str(folder / 'm.onnx')}", "without any folder"),
        ("{'onnxruntime': folder / 'm.onnx'}", "without any folder"),
    ],
)
def test_an_exporter_that_writes_nothing_is_named(
    returned: str, message: str, offer: Offer, tmp_path: Path
) -> None:
    offer(EXPORTER.replace("RETURNED", returned), family="exporters")
    with pytest.raises(ValueError, match=f"the exporter `mine` .*{message}"):
        write_graphs(cnn(8), ["mine"], pixels(2), tmp_path)


def test_an_exporter_whose_graph_does_not_open_is_named(offer: Offer, tmp_path: Path) -> None:
    offer(EXPORTER, family="exporters")
    (tmp_path / "out.bin").write_bytes(b"nothing")
    arrays = {"pixel_values": np.zeros((2, 1, 8, 8), np.float32)}
    told = r"the exporter `mine` wrote a graph that cannot be opened.*\(out.bin in onnxruntime\): "
    with pytest.raises(ValueError, match=told):
        write_golden(["mine"], arrays, {"onnxruntime": "out.bin"}, tmp_path, (2, 10))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(folder / 'more').mkdir()", "left `more`, which is a folder"),
        ("(folder / 'more').symlink_to('/dev/zero')", "left `more`, which is a link"),
        ("(folder / '..' / 'more.bin').write_bytes(b'x')", r"wrote more\.bin beside the folder"),
    ],
)
def test_what_an_exporter_leaves_that_is_no_artifact_s_is_told(
    line: str, message: str, offer: Offer, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "artifact"
    folder.mkdir(parents=True)
    export = f"(folder / 'out.bin').write_bytes(b'x')\n        {line}\n        return"
    source = EXPORTER.replace("return RETURNED", f"{export} {{'onnxruntime': 'out.bin'}}")
    offer(source, family="exporters")
    with pytest.raises(ValueError, match=f"the exporter `mine` {message}"):
        write_graphs(cnn(8), ["mine"], pixels(2), folder)


MORE = """
import shutil


class Mine:
    runtimes = ("onnxruntime",)
    needs = {}

    def export(self, model, inputs, folder):
        from limbeck.exporters.onnx import Onnx
        before = sorted(path.name for path in folder.iterdir())
        for name in Onnx().export(model, inputs, folder).values():
            (folder / name).rename(folder / "mine.onnx")
        LINE
        return {"onnxruntime": "mine.onnx"}
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(folder / 'log.txt').write_text('x')", "left `log.txt` in the folder of the artifact, and ev"),
        ("(folder / 'model.onnx').write_text('x')", "changed `model.onnx`, which an exporter before"),
        ("(folder / 'model.onnx').unlink(True)", "changed `model.onnx`, which an exporter before"),
        ("(folder / 'mine.json').write_text('x')", ""),
        ("pass", ""),
    ],
)  # fmt: skip
def test_what_an_exporter_leaves_and_no_graph_reads_is_told(
    line: str, message: str, offer: Offer, tmp_path: Path
) -> None:
    offer(MORE.replace("LINE", line), family="exporters")
    folder = tmp_path / "artifact"
    folder.mkdir()
    exporters = ["onnx", "mine"] if "model.onnx" in line else ["mine"]
    told = pytest.raises(ValueError, match=f"the exporter `mine` {message}")
    with told if message else contextlib.nullcontext():
        write_graphs(cnn(8), exporters, pixels(2), folder)


def test_what_other_processes_write_beside_an_artifact_is_nobody_s_doing(
    offer: Offer, tmp_path: Path
) -> None:
    """A `limbeck check` with the same cache stopped a run, and the exporter was blamed."""
    beside = "(folder.parent.parent.parent / 'rehearsal-1').mkdir()"
    offer(MORE.replace("LINE", beside), family="exporters")
    folder = tmp_path / "artifact"
    folder.mkdir()
    assert write_graphs(cnn(8), ["mine"], pixels(2), folder) == {"onnxruntime": "mine.onnx"}
    assert [path.name for path in folder.iterdir()] == ["mine.onnx"]
    assert (tmp_path / "rehearsal-1").is_dir()


def test_a_file_without_which_a_graph_does_not_open_belongs_to_it(
    offer: Offer, tmp_path: Path
) -> None:
    opener = "import numpy as np\n" + RUNTIME.replace(
        "return lambda", "(path.parent / 'weights.dat').read_bytes()\n        return lambda"
    )
    offer(opener.replace("RETURNED", "np.ones((2, 10))"), family="runtimes")
    (tmp_path / "graph.bin").write_bytes(b"x")
    (tmp_path / "weights.dat").write_bytes(b"x")
    (tmp_path / "log.txt").write_bytes(b"x")
    given = ({"x": np.ones((2, 4))}, {"mine": "graph.bin"}, tmp_path)
    assert is_read("weights.dat", *given)
    assert not is_read("log.txt", *given)


@pytest.mark.parametrize("returned", ["np.ones((rows, 3), 'f')", "np.ones((rows, 10, 1), 'f')"])
def test_a_runtime_with_logits_of_another_shape_is_named(
    returned: str, offer: Offer, tmp_path: Path
) -> None:
    source = RUNTIME.replace("RETURNED", returned.replace("rows", "len(inputs['x'])"))
    offer("import numpy as np\n" + source, family="runtimes")
    told = r"the runtime `mine` returned a ndarray of shape .*; it is to return .* \(4, 10\)"
    with pytest.raises(ValueError, match=told):
        write_golden(["onnx"], {"x": np.ones((4, 2))}, {"mine": "out.bin"}, tmp_path, (4, 10))


def test_a_runtime_that_writes_into_its_inputs_spoils_no_others(
    offer: Offer, tmp_path: Path
) -> None:
    offer(RUNTIME.replace("RETURNED", "inputs['x'].__imul__(0)"), family="runtimes")
    given = {"x": np.ones((2, 4))}
    assert not open_graph(tmp_path, "mine", 1)(given).any()
    assert given["x"].all()


def test_a_runtime_that_opens_nothing_is_named(offer: Offer, tmp_path: Path) -> None:
    offer(RUNTIME.replace("lambda inputs: RETURNED", "None"), family="runtimes")
    with pytest.raises(ValueError, match=r"the runtime `mine` returned None from `open`"):
        open_graph(tmp_path, "mine", 1)


@pytest.mark.parametrize("change", [lambda x: x * np.nan, lambda x: x + 0.5 + np.random.rand()])
def test_a_runtime_that_answers_otherwise_is_not_blamed_on_the_machine(
    change: Callable[[np.ndarray], np.ndarray], offer: Offer, tmp_path: Path
) -> None:
    source = "import numpy as np\n" + RUNTIME.replace("RETURNED", "inputs['x']")
    offer(source, family="runtimes")
    golden.write({"x": np.ones((2, 4))}, {"mine": "out.bin"}, tmp_path)
    graph = open_graph(tmp_path, "mine", 1)
    with pytest.raises(BrokenArtifact) as told:
        golden.replay(tmp_path, lambda inputs: change(inputs["x"]), "mine")
    assert "mine computes other answers here" in str(told.value)
    assert str(told.value).endswith("Ask whoever offers the runtime, offered")
    golden.replay(tmp_path, graph, "mine")


def test_what_a_plug_in_raises_is_told_to_python_as_on_the_command_line(
    offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    source = SOURCE.replace("RETURNED", "{}['train']")
    offer(source, family="sources")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        RECIPE.replace("{source: sklearn, dataset: digits}", "{source: mine}").replace(
            "mine: {}", "kl: {}"
        )
    )
    told = refused("check", recipe).removeprefix("limbeck: ")
    assert "sources: the plug-in `mine` failed in `read` (" in told
    assert limbeck.check(recipe).mistakes == [told]
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        limbeck.run(recipe, tmp_path / "run")
    assert isinstance(caught.value.__cause__, KeyError)


class Leaving(BaseException):
    """No Exception, as what asks a program to end."""


PRINTING = """
print("at the top")


class Leaving(BaseException):
    pass


class Mine:
    \"\"\"A source of somebody else.\"\"\"

    def __init__(self, rows: int = 40) -> None:
        pass

    def read(self, on_bad_row):
        print("while it reads")
        raise Leaving("now")
"""


@pytest.mark.parametrize("verb", [("schema",), ("check", "recipe.yaml")])
def test_what_a_plug_in_prints_is_no_answer_and_what_it_raises_no_traceback(
    verb: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "offered.py").write_text(PRINTING)
    information = tmp_path / "offered-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[limbeck.sources]\nmine = offered:Mine\n")
    source = RECIPE.replace("{source: sklearn, dataset: digits}", "{source: mine}")
    (tmp_path / "recipe.yaml").write_text(source.replace("mine: {}", "kl: {}"))
    home = Path(limbeck.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "limbeck", *verb],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{home}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "at the top" in done.stderr
    if verb == ("schema",):
        assert "mine" in json.dumps(json.loads(done.stdout))
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert "while it reads" in done.stderr
    assert "the plug-in `mine` failed in `read` (" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].endswith(": Leaving: now")


@pytest.mark.parametrize("seconds", [0, 30])
def test_a_thread_that_is_left_running_keeps_no_process(seconds: float) -> None:
    code = (
        "import sys, threading, time\n"
        "from limbeck.cli import exits\n"
        "exits.THREADS_SECONDS = 0.2\n"
        f"def wait(): time.sleep({seconds})\n"
        "threading.Thread(target=wait, name='left').start()\n"
        "print('answer')\n"
        "exits.end_in_time(3)\n"
        "sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stdout) == (3, "answer\n")
    told = "limbeck: the thread `left`, which runs `wait` (<string>:4), still runs; the process"
    assert done.stderr.startswith(told) if seconds else not done.stderr


@pytest.mark.parametrize(
    "raised", [KeyError("x"), RuntimeError("no"), SystemExit(0), ValueError(), AssertionError()]
)
def test_only_what_a_plug_in_raised_is_blamed_on_it(raised: BaseException, offer: Offer) -> None:
    offer("class Mine:\n    def read(self, on_bad_row):\n        raise on_bad_row", "sources")
    source = registry.create("sources", "mine")
    with pytest.raises(ValueError, match="the plug-in `mine` failed in `read`"), plug_ins.blamed():
        source.read(raised)
    with pytest.raises(type(raised)) as caught, plug_ins.blamed():
        raise raised.with_traceback(None)
    assert caught.value is raised
    with pytest.raises(ValueError, match=r"failed in `read` .*: Leaving: now"), plug_ins.blamed():
        source.read(Leaving("now"))
    for other in (KeyboardInterrupt(), Interrupted("stopped"), OSError(28, "full")):
        with pytest.raises(type(other)), plug_ins.blamed():
            source.read(other)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "None"),
        ("[[1.0, 2.0]] * 3", "a list"),
        ("inputs['x'][:, 0]", r"a ndarray of shape \(3,\)"),
        ("inputs['x'][:2]", r"a ndarray of shape \(2, 4\)"),
    ],
)
def test_a_runtime_that_answers_no_logits_is_named(
    returned: str, found: str, offer: Offer, tmp_path: Path
) -> None:
    offer(RUNTIME.replace("RETURNED", returned), family="runtimes")
    graph = open_graph(tmp_path, "mine", 1)
    with pytest.raises(ValueError, match=f"the runtime `mine` returned {found}.* of 3 rows"):
        graph({"x": np.zeros((3, 4), np.float32)})


def test_a_choice_by_trial_passes_over_what_is_broken(offer: Offer) -> None:
    offer("class Mine:\n    pass", family="ranges")
    tried = components_tried(Quantize(when="after"))
    assert ("ranges", "mse") in tried
    assert ("roundings", "gptq") in tried
    assert ("ranges", "mine") not in tried
    named = components_tried(Quantize(when="after", range="mse", rounding="nearest", equalize={}))
    assert named == [("ranges", "mse"), ("roundings", "nearest")]


SOURCE = """
import numpy as np


class Mine:
    def __init__(self, rows: int = 40) -> None:
        self.rows = rows

    def read(self, on_bad_row):
        pixels = np.zeros((8, 8), np.uint8)
        good = [{"image": pixels, "label": str(n % 2)} for n in range(self.rows)]
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "the source `mine` returned None from `read`"),
        ("good", "the source `mine` returned a list from `read` ("),
        ("{}", "the source `mine` returned the splits none from `read`"),
        ("{'train': good, 'dev': good}", "returned the splits train, dev from `read`"),
        ("{'train': iter(good)}", "returned a list_iterator as train, not a list of rows"),
        ("{'train': [*good, None]}", "returned None as row 41 of train, not a dict"),
        ("{'train': [{'image': None, 'label': 'a'}]}", "row 1 of the train split of `mine`: its"),
        ("{'train': [{**good[0], 'label': 3}]}", "its `label` is an int; a str"),
        ("open('/nowhere/rows.csv')", "(sources: the plug-in `mine` failed in `read` ("),
        ("int('three')", "invalid literal for int() with base 10: 'three' (sources: the plug-in"),
        ("(_ for _ in ()).throw(ValueError())", "ValueError (sources: the plug-in `mine`"),
        ("{}['train']", "sources: the plug-in `mine` failed in `read`"),
    ],
)
def test_a_source_that_reads_no_rows_is_named(
    returned: str, message: str, offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    offer(SOURCE.replace("RETURNED", returned), family="sources")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        RECIPE.replace("{source: sklearn, dataset: digits}", "{source: mine}").replace(
            "{losses: {mine: {}}}", "{losses: {kl: {}}}"
        )
    )
    assert message in refused("check", recipe)


def test_a_method_that_cannot_be_called_as_its_family_does_is_told(
    offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    offer(SOURCE.replace(", on_bad_row", ""), family="sources")
    recipe = tmp_path / "recipe.yaml"
    text = RECIPE.replace("{source: sklearn, dataset: digits}", "{source: mine}")
    recipe.write_text(text.replace("mine: {}", "kl: {}"))
    assert "its `read` does not take (on_bad_row)" in refused("check", recipe)


def test_a_class_variable_of_another_type_is_told(offer: Offer) -> None:
    offer(LOSS.replace('("logits",)', '"logits"'))
    with pytest.raises(ValueError, match=r"its `reads` is 'logits', not tuple\["):
        registry.load("losses", "mine")
    offer(ROUNDING.replace("RETURNED", "steps"), family="roundings")
    with pytest.raises(ValueError, match="its `formats` is 'int8', not tuple"):
        registry.load("roundings", "mine")


KEYS = """
from dataclasses import dataclass, field
from enum import Enum
from limbeck.losses import PlainLoss, masked_mean


class Kind(Enum):
    ONE = "one"
    TWO = "two"


@dataclass
class Mine(PlainLoss):
    kind: Kind = Kind.TWO
    layers: list[int] = field(default_factory=lambda: [1, 2])
    reads = ("logits",)

    def __call__(self, student, teacher, batch, progress):
        assert self.kind is Kind.ONE
        assert self.layers == [1, 2]
        return masked_mean((student.logits - teacher.logits).abs().sum(-1), student.mask)
"""


def test_keys_may_be_enums_and_have_factories(
    offer: Offer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    offer(KEYS)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("mine: {}", "mine: {kind: one}"))
    assert call("check", recipe) == 0, capsys.readouterr()
    assert call("list", "losses", "mine") == 0
    shown = capsys.readouterr().out
    assert "[1, 2]" in shown
    assert "'two'" in shown
    assert call("schema") == 0
    recipe.write_text(RECIPE.replace("mine: {}", "mine: {kind: three}"))
    assert "Input should be 'one' or 'two'" in mistake(capsys, "check", recipe)


BOUNDED = """
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import Field
from limbeck.losses import PlainLoss


class Mine(PlainLoss):
    reads = ("logits",)

    def __init__(
        self,
        power: Annotated[float, Field(gt=0, le=3.5)] = 2.0,
        layers: Annotated[list[int], Field(min_length=1)] = [1],
        width: Annotated[int, Interval(ge=1, lt=9), "a note"] = 1,
    ) -> None:
        pass

    def __call__(self, student, teacher, batch, progress): ...
"""


def test_bounds_of_keys_and_the_place_of_the_code_are_listed(
    offer: Offer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    offer(BOUNDED)
    assert call("list", "losses", "mine") == 0
    shown = capsys.readouterr().out
    for expected in ("float, > 0, <= 3.5", "list[int], length >= 1", "int, >= 1, < 9"):
        assert expected in shown
    assert f"Its code: {tmp_path / 'offered.py'}" in shown.replace("\n", "").replace(
        "Its code:/", "Its code: /"
    )


def test_a_default_that_no_recipe_can_write_is_told(offer: Offer) -> None:
    offer(LOSS.replace("power: float = 2.0", "power: dict = {1: object()}"))
    with pytest.raises(ValueError, match="no recipe can write the default of its key `power`"):
        registry.keys("losses", "mine")


NETWORK = """
from torch import nn


class Mine:
    def build(self, num_labels, channels):
        return RETURNED
"""


@pytest.mark.parametrize("returned", ["None", "nn.Linear", "(nn.Linear(2, 2), None)"])
def test_a_network_that_is_no_module_is_named(returned: str, offer: Offer) -> None:
    offer(NETWORK.replace("RETURNED", returned), family="networks")
    with pytest.raises(ValueError, match=r"the network `mine` returned .* from `build`"):
        networks.build("mine", {}, 2, {"channels": 1})


MODULES = (
    NETWORK.replace("RETURNED", "_Net(num_labels, channels)")
    + """

class _Net(nn.Module):
    def __init__(self, labels, channels):
        super().__init__()
        self.head = nn.Linear(channels * 64, labels)

    def forward(self, pixel_values):
        return self.head(pixel_values.flatten(1))
"""
)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("_Net(num_labels, channels)", "nn.Sequential(nn.Flatten(), nn.Linear(64, 2))", "unexpe"),
        ("self, pixel_values", "self, x", r"with pixel_values to .*`pixel_values` \(B, C, H, W\)"),
        ("return self.head", "return {}['x']", r"`mine` failed in `forward` \(.*KeyError: 'x'"),
        ("_Net(num_labels", "_Net(3", "3 values, but the data has 2 .*one output for"),
        ("self.head(pixel_values.flatten(1))", "pixel_values.mean((2, 3))", "has 2 labels"),
        (
            "self.head(pixel_values.flatten(1))",
            "pixel_values.flatten(1)[:, :2]",
            "`mine`: .*nothing of it can be trained .it has no parameters",
        ),
        (
            "self.head(pixel_values.flatten(1))",
            "self.head(pixel_values.flatten(1)).detach()",
            "no gradient, so .*torch.no_grad",
        ),
        (
            "self.head(pixel_values.flatten(1))",
            "self.head((pixel_values - pixel_values.mean(0)).flatten(1))",
            r"`mine`: the answer of _Net to a row hangs on its neighbours .*by \d+\.\d%",
        ),
        ("nn.Linear(channels * 64, labels)", "nn.LazyLinear(labels)", "has no size yet"),
    ],
)
def test_a_network_that_cannot_be_called_or_trained_is_named(
    before: str, after: str, message: str, offer: Offer
) -> None:
    text = MODULES.replace(before, after, 1)
    if "it has no parameters" in message:
        text = text.replace("self.head = nn.Linear(channels * 64, labels)", "pass")
    offer(text, family="networks")
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (4, 8, 8), np.uint8)
    rows = [{"image": image, "label": "ab"[number % 2]} for number, image in enumerate(pictures)]
    task = ImageClassification(["a", "b"], ImageInput.fit_preprocess(rows))
    model = networks.build("mine", {}, 2, {"channels": 1})
    before_it = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=message):
        check_created(model, task, rows, "mine")
    assert torch.equal(torch.random.get_rng_state(), before_it)


TEXT_NETWORK = """
from torch import nn


class Mine:
    def build_for_texts(self, num_labels, texts):
        return _Net(num_labels, texts.vocabulary)


class _Net(nn.Module):
    def __init__(self, labels, vocabulary):
        super().__init__()
        self.table = nn.Embedding(vocabulary, labels)

    def forward(self, input_ids, attention_mask):
        return (self.table(input_ids) * attention_mask[..., None]).sum(1)
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "", None),
        ("attention_mask[..., None]", "input_ids.new_ones(()).float()", "its neighbours"),
        ("(self, input_ids, attention_mask)", "(self, pixel_values)", r"\(B, T\), of any length"),
        ("build_for_texts", "build", "this network of ours reads images"),
        ("return _Net(num_labels, texts.vocabulary)", "return None", "from `build_for_texts`"),
    ],
)
def test_a_network_of_texts_is_looked_at_as_one_of_images_is(
    before: str, after: str, message: str | None, offer: Offer
) -> None:
    offer(TEXT_NETWORK.replace(before, after) if before else TEXT_NETWORK, family="networks")
    texts = ["ab ba", "b", "a long text of several words", "aa"]
    rows = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(texts)]
    told = pytest.raises(ValueError, match=message) if message else contextlib.nullcontext()
    with told:
        text = preprocess("mine", TextClassification, rows, 64)
        task = TextClassification(["a", "b"], text)
        model = create_model("mine", {}, task, seed=0)
        check_created(model, task, rows, "mine")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8)), r"its `image` is a ndarray of .*float64; an array of uint8.*255 \* im"),
        (np.zeros((8, 8), np.int64), "and int64; an array of uint8"),
        (np.zeros((8, 8), bool), "and bool; an array of uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"\(H, W\) or \(H, W, 3\).*`image.transpose\(1, 2, 0\)`"),
        (np.zeros((8, 8, 4), np.uint8), r"of shape \(8, 8, 4\) and uint8"),
        (np.zeros((0, 8), np.uint8), r"of shape \(0, 8\) and uint8"),
        (np.zeros(8, np.uint8), r"of shape \(8,\) and uint8"),
    ],
)
def test_pixels_of_another_type_or_shape_are_told(image: Any, message: str) -> None:
    good = {"image": np.zeros((8, 8, 3), np.uint8), "label": "a"}
    check_keys([good], "train", ImageClassification, "`mine`")
    with pytest.raises(ValueError, match=f"row 2 of the train split of `mine`: .*{message}"):
        check_keys([good, {**good, "image": image}], "train", ImageClassification, "`mine`")


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (["a", 2], ["O", "O"], "its `words` holds an int; a list of str was expected"),
        (["a", "b"], ["O", 1], "its `tags` holds an int; a list of str or None was expected"),
        (["a", "b"], ["O"], "it has 2 `words` and 1 `tags`; a tag for each word was expected"),
    ],
)
def test_lists_of_something_else_are_told(words: Any, tags: Any, message: str) -> None:
    good = {"words": ["a", "b"], "tags": ["O", None]}
    check_keys([good], "train", TokenClassification, "`mine`")
    with pytest.raises(ValueError, match=f"row 2 of the train split of `mine`: {message}"):
        check_keys([good, {"words": words, "tags": tags}], "train", TokenClassification, "`mine`")


def test_a_list_of_labels_is_no_label() -> None:
    rows = [{"label": "a"}, {"label": ["a", "b"]}]
    with pytest.raises(ValueError, match="row 2: its label is a list, and this task reads one"):
        ImageClassification.find_labels(rows)


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        ("def __init__(self): pass", r"its `__init__` does not take \(grid\)"),
        ("def __init__(self, grid, share): pass", r"its `__init__` does not take \(grid\)"),
        ("__init__ = object.__init__", r"its `__init__` does not take \(grid\)"),
    ],
)
def test_a_range_that_cannot_be_made_of_a_grid_is_told(
    constructor: str, message: str, offer: Offer
) -> None:
    offer(RANGE.replace("RETURNED", "scale, zero") + f"\n    {constructor}", family="ranges")
    with pytest.raises(ValueError, match=f"`mine` .*is not complete: {message}"):
        registry.load("ranges", "mine")


@pytest.mark.parametrize(
    "cut", [None, cnn(8), Cut(None), Cut(cnn(8), {}), (cnn(8), None)], ids=lambda _: ""
)
def test_a_surgery_that_cuts_no_student_is_named(cut: object) -> None:
    with pytest.raises(ValueError, match=r"the surgery `mine` returned .* from `cut`"):
        check_cut("mine", cut, cnn(8), "{}")
    check_cut("mine", Cut(cnn(4)), cnn(8), "{}")


class Other(nn.Conv2d):
    """Has the tensors of a convolution, and computes something else."""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda model: nn.Linear(4, 2), r"with a Linear in the place of a \w+"),
        (lambda model: model.add_module("extra", nn.Linear(4, 2)), "with a Linear as its `extra`, where the teacher has nothing"),
        (lambda model: put_other(model), r"with a Other as its `[\w.]+`, where the teacher has a Conv2d"),
    ],
)  # fmt: skip
def test_a_surgery_that_builds_another_model_is_told(change: Any, told: str) -> None:
    student = cnn(8)
    made = change(student)
    with pytest.raises(ValueError, match=rf"the surgery `mine` returned a student {told}"):
        check_cut("mine", Cut(made if isinstance(made, nn.Module) else student), cnn(8), "{}")


def put_other(model: nn.Module) -> None:
    place = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    model.set_submodule(place, Other(1, 1, 1))


SURGERY = """
import copy
import torch
from torch import nn
from limbeck.surgeries import Cut


class Mine:
    reads_rows = READS
    files = ()

    def cut(self, teacher, evidence):
        student = copy.deepcopy(teacher)
        last = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
        LINE
        return Cut(student)
"""


@pytest.mark.parametrize("reads_rows", [False, True])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("last.weight = nn.Parameter(torch.zeros(10, 3))", "cannot run: RuntimeError: mat1 and"),
        ("last.weight, last.bias = [nn.Parameter(each[:7].clone()) for each in (last.weight, last.bias)]", "of 7 logits; the data has 10 labels"),
        ("last.weight.data[0] = torch.nan", "weight` holds a NaN"),
        ("student.half()", "cannot run: RuntimeError"),
        ("student = student.to('meta')", "without weights (on torch's device `meta`)"),
        ("student.requires_grad_(False)", "cannot be trained: "),
    ],
)  # fmt: skip
def test_a_surgery_whose_student_cannot_be_used_is_named_before_the_teacher_is_trained(
    line: str,
    message: str,
    reads_rows: bool,
    offer: Offer,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    offer(SURGERY.replace("LINE", line).replace("READS", str(reads_rows)), family="surgeries")
    recipe = tmp_path / "recipe.yaml"
    student = "student: {model: small_cnn, width: 2, depth: 1}"
    text = RECIPE.replace("mine: {}", "kl: {}")
    recipe.write_text(text.replace(student, "student: {from: teacher, surgery: mine}"))
    told = refused("run", recipe, "--out", tmp_path / "run")
    assert message in told
    assert f"the surgery `mine` ({tmp_path / 'offered.py'}:12) returned a student" in told
    assert not list(store.Store().folder.glob(f"teacher*/{store.STAGE_FILE}"))


@pytest.mark.parametrize(
    ("family", "text", "when", "key", "message"),
    [
        ("ranges", "RANGE", "train", "range: mine", "the range `mine` (OFFERED:7) gave a scale that is not finite"),
        ("roundings", "ROUNDING", "train", "rounding: mine", "the rounding `mine` returned None from `round` (OFFERED:8)"),
        ("roundings", "BY_LAYER", "after", "rounding: mine", "the rounding `mine` returned None from `solve` (OFFERED:3)"),
        ("equalizers", "EQUALIZER", "after", "equalize: {mine: {}}", "the equalizer `mine` (OFFERED:10) left"),
        ("equalizers", "ARRANGER", "after", "equalize: {mine: {}}", "put other tensors into the model each time"),
    ],
)  # fmt: skip
def test_what_quantizes_wrongly_is_named_before_the_teacher_is_trained(
    family: str,
    text: str,
    when: str,
    key: str,
    message: str,
    offer: Offer,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    source = {
        "RANGE": RANGE.replace("RETURNED", "scale * float('nan'), zero"),
        "ROUNDING": ROUNDING.replace("RETURNED", "None").replace('"int8"', '("int8",)'),
        "BY_LAYER": BY_LAYER.replace("RETURNED", "None"),
        "EQUALIZER": EQUALIZER.replace("LINE", "model.double()"),
        "ARRANGER": EQUALIZER.replace("LINE", "pass").replace(
            "        pass",
            "        import random; model.add_module(str(random.random())[2:], nn.Linear(1, 1))",
            1,
        ),
    }[text]
    offer(source, family=family)
    recipe = tmp_path / "recipe.yaml"
    arm = "joint" if when == "train" else "kd+ptq"
    recipe.write_text(
        RECIPE.replace("mine: {}", "kl: {}").replace("[kd]", f"[{arm}]")
        + f"quantize: {{when: {when}, {key}}}"
    )
    told = refused("run", recipe, "--out", tmp_path / "run")
    assert message.replace("OFFERED", str(tmp_path / "offered.py")) in told
    assert not list(store.Store().folder.glob(f"teacher*/{store.STAGE_FILE}"))


@pytest.mark.parametrize(("text", "told"), [("{}", "without mean, size"), ("[1]", "no JSON object"), ("x", "no JSON object")])  # fmt: skip
def test_a_surgery_with_another_preprocessing_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"the surgery `mine` returned a preprocessing .*{told}"):
        check_cut("mine", Cut(cnn(8), text), cnn(8), '{"size": 1, "mean": 0}')


@pytest.mark.parametrize(
    "switch",
    [lambda: torch.set_grad_enabled(False), lambda: torch.set_default_dtype(torch.float64)],
)
def test_a_loss_that_switches_torch_is_told(switch: Callable[[], object]) -> None:
    def switching(student: Outputs, *_: object) -> torch.Tensor:
        loss = student.logits.sum()
        switch()
        return loss

    outputs = Outputs(torch.ones(2, 1, 3, requires_grad=True), torch.ones(2, 1, dtype=torch.bool))
    batch = Batch({}, None, torch.zeros(2, 1, dtype=torch.long), outputs.mask, np.arange(2))
    objective = Objective([Term("mine", lambda _: 1.0, switching)])  # type: ignore[arg-type]
    try:
        with pytest.raises(ValueError, match="the loss `mine` leaves torch in another mode"):
            objective(outputs, outputs, batch, 0.0)
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)


ROUNDING = """
import torch


class Mine:
    formats = "int8"

    def round(self, steps, grid, *, training):
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returned None from `round`"),
        ("steps.round()[:1]", r"returned a Tensor of shape \(1, 3\) .* floats of shape \(2, 3\)"),
        ("steps.round().long()", "returned .* and torch.int64 from `round`"),
        ("steps.round().double()", r"and torch.float64 from .* \(2, 3\) and torch.float32"),
        ("steps * float('nan')", r"gave values from `round` \(.*\) that are not finite"),
        (
            "torch.round(steps * 2) / 2",
            r"gave -?\d*.5 from `round` \(.*\), which is no level of the grid",
        ),
        ("steps", r"no level of the grid \(-127 to 127, integers 1 apart\).*nearest_level"),
    ],
)
def test_a_rounding_that_gives_no_levels_is_named(
    returned: str, message: str, offer: Offer
) -> None:
    offer(ROUNDING.replace("RETURNED", returned).replace('"int8"', '("int8",)'), "roundings")
    rounding = registry.create("roundings", "mine")
    quantizer = FakeQuantizer(GRIDS["int8"], Minmax, 2, rounding=rounding)
    layer = Normed(torch.nn.Linear(3, 2), quantizer)
    with pytest.raises(ValueError, match=f"the rounding `mine` .*{message}"):
        layer.calibrate_weight()


BY_LAYER = """
class Mine:
    def solve(self, weight, scale, grid, inputs):
        return RETURNED
"""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("weight.transpose(1, 2)", "returned .* from `solve`"),
        ("weight * float('nan')", r"from `solve` \(.*offered.py:3\) that are not finite"),
        ("weight", r"from `solve` \(.*\), which is no level of the grid"),
        (
            "((weight / scale).round() + 0.5) * scale",
            r"from `solve` \(.*\), which is no level of the grid",
        ),
    ],
)
def test_a_rounding_by_layer_that_gives_no_weights_is_named(
    returned: str, message: str, offer: Offer
) -> None:
    offer(BY_LAYER.replace("RETURNED", returned), family="roundings")
    layer = Normed(torch.nn.Linear(3, 2), FakeQuantizer(GRIDS["int8"], Minmax, 2))
    layer.calibrate_weight()
    with pytest.raises(ValueError, match=f"the rounding `mine` .*{message}"):
        layer.round_with(registry.create("roundings", "mine"), torch.ones(5, 3))


@pytest.mark.parametrize("weights", [name for name in GRIDS if name != "uint8"])
def test_every_level_of_a_format_is_one_and_what_lies_between_is_told(weights: str) -> None:
    grid = GRIDS[weights]
    levels = nearest_level(torch.linspace(grid.low, grid.high, 1000), grid)
    check_levels(Nearest(), "round", levels, grid)
    scale = torch.tensor(0.0123)
    check_levels(Nearest(), "round", levels * scale / scale, grid, tolerance=LAST_BITS)
    with pytest.raises(ValueError, match=r"from `round` \(.*nearest.py:\d+\), which is no level"):
        check_levels(Nearest(), "round", torch.tensor([float(grid.high), 0.3]), grid)


@pytest.mark.parametrize(
    ("opened", "message"),
    [
        (None, "returned None from `open`"),
        (lambda places: None, "a list of words for each of 2 places"),
        (lambda places: [["a"]], "a list of words for each of 2 places"),
        (lambda places: ["a", "b"], "returned a str .*words for each place"),
        (lambda places: [["a"], [1]], "words for each place"),
    ],
)
def test_an_augmenter_that_proposes_no_words_is_named(opened: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"the augmenter `mine` .*{message}"):
        augmenters.checked("mine", opened)([(["one"], 0), (["two"], 0)])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "returned None"),
        ({}, "the scores of each of 1 modules"),
        ({"0": 1.0}, "a number for each of int8"),
        ({"0": {"int8": torch.tensor(1.0)}}, "gave 0 in int8 the score tensor"),
        ({"0": {"int8": math.nan}}, "a finite float of 0 or more"),
        ({"0": {"int8": np.float32(1)}}, r"`float\(score\)`"),
        ({"0": {"int8": True}}, "a finite float of 0 or more"),
    ],
)
def test_a_sensitivity_that_leaves_modules_unjudged_is_named(scores: Any, message: str) -> None:
    layer = Normed(torch.nn.Linear(3, 2), FakeQuantizer(GRIDS["int8"], Minmax, 2))
    judged = JudgedModel(torch.nn.Sequential(layer), [], ["int8"])
    with pytest.raises(ValueError, match=f"the sensitivity `mine` .*{message}"):
        check_scores("mine", scores, judged)


def test_the_place_of_what_returned_it_is_told(offer: Offer, tmp_path: Path) -> None:
    """Of every family: a function, a method, what torch calls by `forward`, a wrapped one."""
    offer(EXPORTER.replace("RETURNED", "None"), family="exporters")
    place = re.escape(f" ({tmp_path / 'offered.py'}:6); it is to return")
    with pytest.raises(ValueError, match=f"returned None from `export`{place}"):
        write_graphs(cnn(8), ["mine"], pixels(2), tmp_path)
    offer(RUNTIME.replace("RETURNED", "None"), family="runtimes")
    place = re.escape(f" ({tmp_path / 'offered.py'}:7); it is to return")
    with pytest.raises(ValueError, match=f"returned None from .*{place}"):
        open_graph(tmp_path, "mine", 1)({"x": np.zeros((3, 4), np.float32)})
    here = int(contract.place(rescale).rpartition(":")[2].rstrip(")"))
    assert Path(__file__).read_text().splitlines()[here - 1].startswith("def rescale(")
    assert contract.place(partial(rescale, 1)) == contract.place(torch.no_grad()(rescale))
    assert contract.place(MadeBy(1)) == contract.place(MadeBy.forward)
    assert contract.place(3) == contract.place(dict.get) == ""


class MadeBy(nn.Linear):
    """Calls somebody's `forward`."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def rescale(judged: JudgedModel) -> None:
    # Past the counter of writes in place.
    judged.model[0].weight.data.mul_(2)  # type: ignore[union-attr, index, operator]


def freeze(judged: JudgedModel) -> None:
    judged.model.requires_grad_(False)


def start_training(judged: JudgedModel) -> None:
    judged.model.train()


def take_other_quantizer(judged: JudgedModel) -> None:
    judged.layers["0"].quantizer = FakeQuantizer(GRIDS["int8"], Minmax, 2)


def take_other_layer(judged: JudgedModel) -> None:
    judged.model[0] = torch.nn.Linear(3, 2)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (rescale, "`0.weight` is not what it was"),
        (freeze, "requires_grad of `0.weight` is not"),
        (start_training, "the mode of `Sequential` is not"),
        (take_other_quantizer, "the quantizer of `0` is not"),
        (take_other_layer, "`0.weight` is not"),
    ],
)
def test_a_sensitivity_that_changes_the_model_is_named(change: Any, what: str) -> None:
    layer = Normed(torch.nn.Linear(3, 2), FakeQuantizer(GRIDS["int8"], Minmax, 2))
    judged = JudgedModel(torch.nn.Sequential(layer).eval(), [], ["int8"])

    def changing(judged: JudgedModel) -> Any:
        change(judged)
        return {"0": {"int8": 0.5}}

    assert judge("mine", lambda _: {"0": {"int8": 0.5}}, judged) == {"0": {"int8": 0.5}}
    with pytest.raises(ValueError, match=f"sensitivity `mine` changed the model that.*: {what}"):
        judge("mine", changing, judged)


EQUALIZER = """
import torch
from torch import nn


class Mine:
    def arrange(self, model, flow):
        pass

    @torch.no_grad()
    def apply(self, model, flow, forwards):
        LINE
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model.extra = nn.Linear(1, 1)", "added or took away parameters in `apply`"),
        ("model[0].weight.mul_(3)", "changed what the float model answers by"),
        ("model[0].weight.fill_(float('nan'))", "changed what the float model answers by nan"),
        (
            "model.double()",
            r"left `0.weight` as torch.float64 \(2, 3\) in `apply`; it was torch.fl",
        ),
    ],
)
def test_a_rewrite_that_is_none_is_named(line: str, message: str, offer: Offer) -> None:
    offer(EQUALIZER.replace("LINE", line), family="equalizers")
    rewrite = registry.create("equalizers", "mine")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2)).eval()
    place = r"\(.*offered.py:10\)"
    with pytest.raises(ValueError, match=f"the equalizer `mine` {place} {message}"):
        apply_rewrite(rewrite, model, Flow(), [lambda net: net(torch.ones(4, 3))])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model[0].weight.data.mul_(3)", "changed `0.weight` in `arrange`"),
        ("model.half()", "changed `0.weight` in `arrange`"),
        ("model.running.zero_()", "changed `running` in `arrange`"),
        ("model.append(nn.ReLU())", r"changed what the model answers by \d+.\d% in `arrange`"),
        ("model.append(nn.Identity())", ""),
        ("model[0] = nn.Sequential(model[0])", ""),
    ],
)
def test_a_rewrite_that_acts_before_its_turn_is_named(
    line: str, message: str, offer: Offer
) -> None:
    offer(EQUALIZER.replace("        pass", f"        {line}"), family="equalizers")
    rewrite = registry.create("equalizers", "mine")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    model.register_buffer("running", torch.ones(2))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-9.0, 9.0]))
    place = r"\(.*offered.py:7\)"
    told = pytest.raises(ValueError, match=f"the equalizer `mine` {place} {message}")
    with told if message else contextlib.nullcontext():
        arrange(rewrite, model, Flow(), lambda net: net(torch.ones(4, 3)))


def test_a_rounding_may_write_into_what_it_is_given(offer: Offer) -> None:
    """Gradients and weights are those of a rounding that does not."""
    offer(
        ROUNDING.replace("RETURNED", "steps.round_()").replace('"int8"', '("int8",)'), "roundings"
    )
    found = []
    for rounding in (Nearest(), registry.create("roundings", "mine")):
        quantizer = FakeQuantizer(GRIDS["int8"], Minmax, 2, rounding=rounding)
        weight = torch.linspace(-1, 1, 6).view(2, 3).requires_grad_()
        quantizer.begin()
        quantizer(weight)
        quantizer.finish()
        quantizer.log_scale.requires_grad_()
        quantizer(weight).square().sum().backward()
        found.append((weight.grad, quantizer.log_scale.grad))
    for ours, theirs in zip(*found, strict=True):
        assert ours.any()
        assert torch.equal(ours, theirs)


def test_a_rounding_by_layer_may_write_into_what_it_is_given(offer: Offer) -> None:
    offer(BY_LAYER.replace("return RETURNED", WRITES), family="roundings")
    layer = Normed(torch.nn.Linear(3, 2), FakeQuantizer(GRIDS["int8"], Minmax, 2))
    layer.calibrate_weight()
    scale = layer.scale().clone()
    expected = layer.quantizer(layer.weight).detach()
    layer.round_with(registry.create("roundings", "mine"), torch.ones(5, 3))
    assert torch.equal(layer.scale(), scale)
    torch.testing.assert_close(layer.weight.detach(), expected)


WRITES = """levels = (weight / scale).round().clamp(grid.low, grid.high) * scale
        weight.zero_()
        scale.zero_()
        return levels"""

TASK = """
import numpy as np
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.heads.one_label import OneLabelWithAuc


class _Head(OneLabelWithAuc):
    pass
    CHANGE


class Mine(ImageClassification):
    head_type = _Head
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("def ranked(self, scored, weights): return None", "returned None from `ranked`"),
        ("def ranked(self, scored, weights): return {}", "its `metric_names` are"),
        ("def statistics(self, scored): return np.ones(3)", "offered.py:9); it is to return"),
        ("def statistics(self, scored): return np.full((len(scored.labels), 30), 'a')", "of numbers"),
        ("def statistics(self, scored): return np.full((len(scored.labels), 30), np.nan)", "computes NaN as `accuracy` by `statistics` ("),
        ("def metrics(self, totals): return {'accuracy': 0.5, 'macro_f1': 0.5}", "gave a float as `accuracy` of `metrics` ("),
        ("def metrics(self, totals): return {name: totals[:1, 0] * np.nan for name in ('accuracy', 'macro_f1')}", "computes NaN as `accuracy` by `metrics` ("),
        ("def ranked(self, scored, weights): return {'auc': None}", "gave None as `auc` of `ranked` ("),
        ("def decisions(self, scored): return super().decisions(scored)[:, None]", "359 decisions: numbers of labels of shape (359,)"),
        ("def decisions(self, scored): return super().decisions(scored) + 0.5", "and float64 from `decisions` ("),
        ("def decisions(self, scored): return super().decisions(scored) + 90", "for the labels 90 to 99 in `decisions` ("),
        ("def details(self, scored): return [1]", "returned a list from `details`"),
        ("def details(self, scored): return {'x': float('nan')}", "with what is no JSON: Out of range"),
        ("def details(self, scored): return {'metrics': {}}", "gave `metrics` in `details`"),
        ("def details(self, scored): return {'per_label': 3}", "are no tables of the report"),
        ("def decode(self, row, logits): return None", "returned None from `decode`"),
        ("def targets(self, row): return 3", "returned an int from `targets`"),
        ("def targets(self, row): return np.array([50])", "gave the label 50 in `targets` ("),
        ("def targets(self, row): return np.array([-1])", "gave the label -1 in `targets` ("),
        ("def targets(self, row): return np.array([1, 2])", "labels in `targets` ("),
        ("def targets(self, row): return np.array([[1, 0]])", "an array (W) of int64, numbers"),
        ("def targets(self, row): return super().targets(row).astype(np.int32)", "of shape (1,) and int32 from `targets` ("),
        ("stratum = staticmethod(lambda row: [row['label']])", "returned a list from `stratum` ("),
        ("find_labels = staticmethod(lambda rows: None)", "returned None from `find_labels`"),
        ("find_labels = staticmethod(lambda rows: {row['label'] for row in rows})", "a set from `find_labels`"),
        ("find_labels = staticmethod(lambda rows: [3, 4])", "a list of the labels' names, each a str"),
        ("find_labels = staticmethod(lambda rows: ['0', '1', '0'])", "gave the label `0` more than once"),
        ("def metrics(self, totals): return {'kappa': totals[..., 0]}", "computes kappa"),
        ("def decode(self, row, logits): return {'p': logits[0]}", "answered from `decode` ("),
        ("def details(self, scored): return {1: np.ones(2)}", "answered from `details` ("),
        ("def decisions(self, scored): return None", "returned None from `decisions`"),
        ("metric = 'kappa'", "says metric = 'kappa'"),
        ("likelihood = 'gamma'", "says likelihood = 'gamma'"),
        ("hard_loss = 'no_such'", "says hard_loss = 'no_such'"),
        ("metric_names = 'kappa'", "its `metric_names` is 'kappa', not tuple"),
    ],
)  # fmt: skip
def test_a_task_that_cannot_judge_is_named_before_a_training(
    change: str, message: str, offer: Offer, refused: Callable[..., str], tmp_path: Path
) -> None:
    offer(TASK.replace("CHANGE", change), family="tasks")
    recipe = tmp_path / "recipe.yaml"
    text = RECIPE.replace("image-classification", "mine").replace("mine: {}", "kl: {}")
    recipe.write_text(text)
    told = refused("check", recipe)
    assert message in told
    assert "`mine`" in told
    assert message in refused("run", recipe, "--out", tmp_path / "run")
    assert not list(store.Store().folder.glob(f"teacher*/{store.STAGE_FILE}"))


def test_a_task_without_a_head_is_not_complete(offer: Offer) -> None:
    joined = "from limbeck.tasks.joined import JoinedTask\n\n\nclass Mine(JoinedTask):\n    pass"
    offer(joined, family="tasks")
    with pytest.raises(ValueError, match=r"its class has no `metric` \(.*no attribute 'head_type'"):
        registry.load("tasks", "mine")


def test_the_task_of_a_plug_in_is_spelt_as_ours(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(TASK.replace("CHANGE", "pass"), family="tasks")
    point = EntryPoint("star_image", "offered:Mine", "limbeck.tasks")
    monkeypatch.setattr(plug_ins, "entry_points", EntryPoints([point]).select)
    assert "star-image" in registry.names("tasks")
    assert registry.load("tasks", "star-image").__name__ == "Mine"


def test_a_misspelt_key_of_a_rewrite_is_told(refused: Callable[..., str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    quantize = "quantize: {when: after, equalize: {cross_layer: {absrb: true}}}"
    recipe.write_text(RECIPE.replace("mine: {}", "kl: {}") + quantize)
    assert "Did you mean `absorb`?" in refused("check", recipe)
