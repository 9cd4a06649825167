"""`@limbeck.loss`: a function or a class of the user's own trains as a loss of ours does, and its code is part of the key."""

from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import Tensor

import limbeck
from limbeck.core import registered, registry
from limbeck.core.events import Ended, Event
from limbeck.losses import PlainLoss, masked_mean, wide

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8)
ROWS = [{"image": image, "label": "ab"[int(image.mean() > 127)]} for image in PIXELS]
RECIPE = """
task: image-classification
data: {source: rows}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 2, learning_rate: 0.01, threads: 1, batch_rows: 16}
distill: {losses: {LOSS}}
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another has registered."""
    monkeypatch.setattr(registered, "_registered", {})


def squares(
    student: Any, teacher: Any, batch: Any, progress: float, *, factor: float = 1.0
) -> Tensor:
    """As limbeck's `logit_mse`, which the runs are held against."""
    difference = wide(student.logits) - wide(teacher.logits.detach())
    return factor * masked_mean(difference.square().mean(-1), student.mask & teacher.mask)


class MeanSquares(PlainLoss):
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, student: Any, teacher: Any, batch: Any, progress: float) -> Tensor:
        return squares(student, teacher, batch, progress)


def trained(losses: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """The report of a run, and which of its trainings of a student were computed."""
    computed: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Ended) and event.stage.startswith("train") and not event.reused:
            computed.append(event.stage)

    recipe = limbeck.parse(RECIPE.replace("LOSS", losses))
    return limbeck.run(recipe, out, tell=tell, rows={"train": ROWS, "test": ROWS}), computed


def test_it_trains_as_ours_and_is_trained_anew_when_it_changes(tmp_path: Path) -> None:
    limbeck.loss(squares)
    limbeck.loss(MeanSquares)
    ours, _ = trained("logit_mse: {}", tmp_path / "ours")
    for losses in ("squares: {}", "mean_squares: {}"):
        own, computed = trained(losses, tmp_path / "own")
        assert own["arms"]["kd"]["mean"] == ours["arms"]["kd"]["mean"]
        assert len(computed) == 1
    # A key of the recipe is a key of the function.
    _, computed = trained("squares: {factor: 3}", tmp_path / "other")
    assert len(computed) == 1
    # The same again is found; the same name with other code is another training.
    _, computed = trained("squares: {}", tmp_path / "own")
    assert not computed

    def changed(
        student: Any, teacher: Any, batch: Any, progress: float, *, factor: float = 1.0
    ) -> Tensor:
        return 2 * squares(student, teacher, batch, progress, factor=factor)

    changed.__name__ = "squares"
    limbeck.loss(changed)
    _, computed = trained("squares: {}", tmp_path / "own")
    assert len(computed) == 1


def test_its_keys_are_checked_as_those_of_ours() -> None:
    limbeck.loss(squares)
    assert list(registry.keys("losses", "squares")) == ["factor"]
    assert registry.create("losses", "squares", {"factor": 3}).keys == {"factor": 3.0}
    recipe = limbeck.parse(RECIPE.replace("LOSS", "squares: {facto: 2}"))
    (mistake,) = limbeck.check(recipe, rows={"train": ROWS}, data_only=True).mistakes
    assert "has no key `facto`. Did you mean `factor`?" in mistake
    recipe = limbeck.parse(RECIPE.replace("LOSS", "square: {}"))
    (mistake,) = limbeck.check(recipe, rows={"train": ROWS}, data_only=True).mistakes
    assert "Did you mean `squares`?" in mistake


def test_what_can_be_no_loss_is_told() -> None:
    def kl(student: Any, teacher: Any, batch: Any, progress: float) -> None: ...
    def short(student: Any, teacher: Any) -> None: ...

    with pytest.raises(ValueError, match="there is a loss `kl` already"):
        limbeck.loss(kl)
    with pytest.raises(
        TypeError, match=r"write def short\(student, teacher, batch, progress, \*, "
    ):
        limbeck.loss(short)
    with pytest.raises(TypeError, match="a function or a class is expected, not 'kl'"):
        limbeck.loss("kl")  # type: ignore[type-var]
    limbeck.loss(type("Lacking", (), {}))
    with pytest.raises(ValueError, match=r"losses: `lacking` .* is not complete"):
        registry.load("losses", "lacking")
    assert "squares" not in registry.names("losses")


def test_other_processes_do_not_know_it(tmp_path: Path) -> None:
    limbeck.loss(squares)
    text = RECIPE.replace("LOSS", "squares: {}").replace(
        "source: rows", "source: sklearn, dataset: digits"
    )
    recipe = limbeck.parse(text, overrides=["verdict.jobs=2"])
    with pytest.raises(
        ValueError, match=r"verdict\.jobs: models, losses and rows from Python are in"
    ):
        limbeck.run(recipe, tmp_path / "run")


def test_code_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    def written(student: Any, teacher: Any, batch: Any, progress: float) -> Any:
        return (student.logits - teacher.logits).sum()

    # As of a notebook's cell that is gone: compiled, and its file is nowhere.
    code = written.__code__.replace(co_filename="<nowhere>", co_name="unread")
    unread = FunctionType(code, globals(), "unread")
    limbeck.loss(unread)
    with pytest.raises(
        ValueError, match=r"losses: `unread`: .* cannot be read .*Put it into a file"
    ):
        trained("unread: {}", tmp_path / "run")
