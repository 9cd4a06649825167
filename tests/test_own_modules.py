"""Own modules that were not made for limbeck: they work, or are named with the line, before anything is trained; `limbeck.check` from Python."""

import copy
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import call
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import limbeck
from limbeck.artifact.proof.parity import refuse_other_answers
from limbeck.core import registry
from limbeck.models.user_model import Own, wrapped
from limbeck.quantization.prepare import prepare_model
from limbeck.tasks.image_classification import ImageClassification

IMAGES = ImageClassification(
    ["a", "b"], '{"height": 4, "width": 4, "channels": 1, "mean": [0.0], "std": [1.0]}'
)
PICTURES = [{"image": np.full((4, 4), 6 * n, np.uint8), "label": "ab"[n % 2]} for n in range(40)]
RECIPE = limbeck.parse(
    "task: image-classification\ndata: {source: rows}\nstudent: {model: mine}\n"
    "train: {epochs: 1, threads: 1}\nquantize: {when: train}\nexport: [onnx]\n"
)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 8)
        self.head = nn.Linear(8, 2)

    def hidden(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.body(pixel_values.flatten(1)).sigmoid()  # type: ignore[no-any-return]

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.head(self.hidden(pixel_values))


class Overwriting(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        hidden = self.hidden(pixel_values)
        squared = hidden.square()
        hidden.add_(1)
        return self.head(squared)


class Unfinished(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        if self.training:
            raise NotImplementedError
        return super().forward(pixel_values)


class Squeezed(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values).squeeze()


class WithTime(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values).unsqueeze(1)


class Detached(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values).detach()


class Pair(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values), None


class Scores(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return {"scores": super().forward(pixel_values)}


class Asking(Base):
    def forward(self, pixel_values: torch.Tensor, temperature: float) -> Any:
        return super().forward(pixel_values) / temperature


class Divided(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values) / (pixel_values.amax() * 0)


class Cast(Base):
    """Takes its inputs to the type of its weights, so that it can be called in any."""

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return super().forward(pixel_values.to(self.body.weight.dtype))


class ByValue(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        hidden = self.hidden(pixel_values)
        if hidden.max().item() > 2:
            hidden = hidden / 2
        return self.head(hidden)


class RowByRow(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return torch.stack([self.head(row) for row in self.hidden(pixel_values)])


class Distances(Base):
    def forward(self, pixel_values: torch.Tensor) -> Any:
        return -torch.cdist(self.hidden(pixel_values), self.head.weight)


class ThreeAxes(Base):
    """pytorch/pytorch#152018: torch's product of attention, without an axis of heads."""

    def forward(self, pixel_values: torch.Tensor) -> Any:
        x = pixel_values[:, 0]
        return self.head(self.hidden(functional.scaled_dot_product_attention(x, x, x)))


class Keeping(Base):
    """Keeps what it has computed, with its history."""

    def forward(self, pixel_values: torch.Tensor) -> Any:
        self.seen = self.hidden(pixel_values)
        return self.head(self.seen)


def line_with(text: str) -> int:
    """The first line of this file that holds a text."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def at(text: str) -> str:
    return rf"\({__file__}:{line_with(text)}\)"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Overwriting(), rf"training step: RuntimeError: .*inplace.* {at('squared = hidden.squ')}"),
        (Unfinished(), rf"training step: NotImpl.*: without a word {at('raise NotImplemented')}"),
        (Squeezed(), r"logits of shape \(2,\) for a batch of 1, where \(1, labels\) is expected"),
        (WithTime(), r"logits of shape \(1, 1, 2\) for a batch of 1, where \(1, labels\)"),
        (Detached(), r"its logits have no gradient, so nothing of it can be trained"),
        (Pair(), r"returned a tuple; a tensor, or one that is called `logits`.*\. Wrap it"),
        (Scores(), r"returned a dict of scores; a tensor, or one that is called `logits`.*Wrap it"),
        (Asking(), r"missing 1 required positional argument: 'temperature'\. Wrap it"),
        (Divided(), r"its logits on two rows hold a NaN or an infinity, though its weights"),
        (Base().half(), r"its `body.weight` is torch.float16, .*Hand over `module.float\(\)`"),
        (Base().double(), r"its `body.weight` is torch.float64, .*Hand over `module.float\(\)`"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_trained_is_named_with_its_line(module: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Own(module).check(IMAGES, IMAGES.encode(PICTURES), "mine")
    # As a teacher that is tuned already it need not learn.
    if isinstance(module, Overwriting | Unfinished | Detached):
        Own(module).check(IMAGES, IMAGES.encode(PICTURES), "mine", is_trained=False)


class NormOfBatch(Base):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def hidden(self, pixel_values: torch.Tensor) -> torch.Tensor:
        values = self.norm(pixel_values.flatten(1) if self.norm.num_features > 1 else pixel_values)
        return super().hidden(values)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_a_batch_norm_of_the_batch_is_named(kind: Any) -> None:
    """One of vectors fails on a row alone, one of maps answers otherwise."""
    num_features = 16 if kind is nn.BatchNorm1d else 1
    module = NormOfBatch(kind(num_features, track_running_stats=False))
    with pytest.raises(ValueError, match="`norm`: batch norm without running statistics, which"):
        Own(module).check(IMAGES, IMAGES.encode(PICTURES), "mine")
    module = NormOfBatch(kind(num_features))
    Own(module).check(IMAGES, IMAGES.encode(PICTURES), "mine")


def test_a_teacher_that_is_not_trained_may_be_of_any_type_that_it_can_be_called_in() -> None:
    encoded = IMAGES.encode(PICTURES)
    Own(Cast().half()).check(IMAGES, encoded, "mine", is_trained=False)
    with pytest.raises(ValueError, match=r"no float32, as inputs are: hand over `module.float"):
        Own(Base().half()).check(IMAGES, encoded, "mine", is_trained=False)


def test_weights_that_are_not_there_are_told() -> None:
    checked = limbeck.check(RECIPE, models={"mine": Base().to("meta")}, rows={"train": PICTURES})
    (told,) = checked.mistakes
    assert "`body.weight` has a shape and no values (it lies on torch's device `meta`)" in told


def compiled_within() -> nn.Module:
    module = Base()
    module.compile(backend="eager")
    return module


def with_a_compiled_part() -> nn.Module:
    module = Base()
    module.head = torch.compile(module.head, backend="eager")  # type: ignore[assignment]
    return module


@pytest.mark.parametrize(
    "make", [lambda: torch.compile(Base(), backend="eager"), compiled_within, with_a_compiled_part]
)
def test_a_compiled_module_is_taken_as_what_it_was_made_of(make: Any, tmp_path: Path) -> None:
    module = make()
    taken = wrapped({"mine": Own(module, version="1")})["mine"]
    assert taken.version == "1"
    assert {type(part) for part in taken.module.modules()} == {Base, nn.Linear}
    assert [name for name, _ in taken.module.named_modules()] == ["", "body", "head"]
    images = torch.rand(3, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(taken.module(images), module(images))
    # Its code can be read, and its layers quantized.
    report = limbeck.run(RECIPE, tmp_path, models={"mine": module}, rows={"train": PICTURES})
    assert report.parity[0].holds


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (RowByRow(), r"its graph is for 4 rows and no other number"),
        pytest.param(
            ThreeAxes(), rf"{at('functional.scaled_dot')}: .*scaled", marks=pytest.mark.slow
        ),
        pytest.param(Distances(), rf"{at('-torch.cdist(self')}: .*cdist", marks=pytest.mark.slow),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_graph_is_named_and_torch_is_silent(
    module: nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=message):
        registry.create("exporters", "onnx").export(
            module.eval(), {"pixel_values": torch.randn(4, 1, 4, 4)}, tmp_path
        )
    assert capfd.readouterr() == ("", "")


def test_a_run_names_it_before_anything_is_trained(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(
        ValueError, match=rf"ByValue cannot be traced.*{at('if hidden.max().item')}"
    ):
        limbeck.run(
            RECIPE, tmp_path / "run", models={"mine": ByValue()}, rows={"train": PICTURES},
            tell=lambda event: told.append(str(event)),
        )  # fmt: skip
    assert [line for line in told if "running" in line] == ["trace: running"]


# A copy is trained, and the module stays as it was.


def normed() -> nn.Module:
    """Every norm of weights that torch has, with what comes to a module's own weight."""
    torch.manual_seed(0)
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 4)),
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        parametrizations.orthogonal(nn.Linear(4, 4)),
        nn.utils.weight_norm(nn.Linear(4, 4)),  # type: ignore[no-untyped-call]
        nn.utils.spectral_norm(nn.Linear(4, 4)),
    ).eval()


@pytest.mark.filterwarnings("ignore:.*_norm:FutureWarning")
def test_computed_weights_become_plain_ones_of_the_copy_alone() -> None:
    module = normed()
    x = torch.randn(3, 4)
    expected = module(x).detach()  # leaves weights with a history, which torch does not copy
    before = copy.deepcopy(module.state_dict())
    for _ in range(2):
        own = Own(module).create()
        assert {name for name, _ in own.named_parameters()} == {
            f"{n}.{k}" for n in range(5) for k in ("weight", "bias")
        }
        torch.testing.assert_close(own(x), expected)
        torch.testing.assert_close(module(x), expected)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_what_a_forward_has_left_is_copied_without_its_history() -> None:
    module = Keeping()
    module(torch.randn(2, 1, 4, 4))
    own: Any = Own(module).create()
    assert torch.equal(own.seen, module.seen)
    assert module.seen.grad_fn is not None and own.seen.grad_fn is None


def test_modules_that_cannot_be_had_are_refused_by_name() -> None:
    locked = Base()
    locked.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"Base cannot be copied, and limbeck trains a copy"):
        Own(locked).create()
    with pytest.raises(ValueError, match=r"`mine`: `weight` has no size yet \(a lazy layer\)"):
        wrapped({"mine": nn.LazyLinear(2)})
    with pytest.raises(ValueError, match=r"`mine`: type is no torch\.nn\.Module"):
        wrapped({"mine": Base})  # type: ignore[dict-item]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_scripted_part_is_named_where_it_would_be_quantized() -> None:
    module = nn.Sequential(nn.Flatten(), torch.jit.script(nn.Linear(16, 2)))
    with pytest.raises(ValueError, match=r"quantize: `1` is compiled by torch\.jit, and its"):
        prepare_model(module, {}, "minmax", lambda each: each(torch.randn(2, 4, 4)))


# `limbeck.check`.


def test_check_from_python_rehearses_own_modules_and_rows(
    tmp_path: Path, cache_folder: Path
) -> None:
    found = limbeck.check(RECIPE, models={"mine": Base()}, rows={"train": PICTURES})
    assert found.ok and str(found).endswith("\nok")
    assert "labels: a, b" in found.lines
    assert [line.split()[0] for line in found.lines if line.endswith("MB")][-1] == "total"
    assert list(cache_folder.iterdir()) == []


def test_check_from_python_tells_what_is_wrong() -> None:
    data = {"train": PICTURES}
    for models, message in (
        ({"mine": Squeezed()}, "student: model `mine`: cannot be called with pixel_values"),
        ({"mine": nn.LazyLinear(2)}, "model `mine`: `weight` has no size yet"),
        ({}, "model `mine`: neither a network of ours, nor a model folder"),
    ):
        found = limbeck.check(RECIPE, models=models, rows=data)
        assert not found.ok
        assert any(message in mistake for mistake in found.mistakes), found.mistakes


def test_check_from_python_finds_what_the_command_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "sun,a\nrain,b\n" * 9)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"{{task: text-classification, data: {{source: csv, path: {table}}}, student: {{model: ./none}}}}"
    )
    assert call("check", path) == 2
    printed = capsys.readouterr()
    found = limbeck.check(path)
    assert printed.err.splitlines() == [f"limbeck: {mistake}" for mistake in found.mistakes]
    assert printed.out.splitlines() == found.lines
    assert limbeck.check(path, data_only=True).ok


def test_a_graph_that_answers_otherwise_stops_the_rehearsal() -> None:
    proof = {"runtime": "onnxruntime", "units": 10, "unexplained": 5}
    refuse_other_answers([proof])
    with pytest.raises(ValueError, match=r"otherwise in onnxruntime .* in 6 of 10 answers"):
        refuse_other_answers([proof, proof | {"unexplained": 6}])
