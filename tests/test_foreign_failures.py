"""Whatever a library raises over a stranger's file is one error of ours; what is none goes on as it is."""

import errno
from pathlib import Path

import pytest
from task_examples import tokenizer_text

from limbeck.artifact.predictor import Predictor
from limbeck.core.errors import Interrupted
from limbeck.core.foreign import told_as
from limbeck.tasks.text_classification import TextClassification

# As tokenizers raises one where a table of its own is broken.
PanicException = type("PanicException", (BaseException,), {})


def ours(reason: str) -> ValueError:
    return ValueError(f"the file is broken: {reason}")


class Broken(ValueError):
    """An error that is told already."""


@pytest.mark.parametrize("error", [KeyError("no"), Exception("no"), RecursionError("no"), MemoryError("no"), PanicException("no"), OSError("no")])  # fmt: skip
def test_what_a_library_raises_is_told(error: BaseException) -> None:
    with pytest.raises(ValueError, match=rf"the file is broken: {type(error).__name__}: .*no"), told_as(ours):  # fmt: skip
        raise error


@pytest.mark.parametrize("error", [Broken("no"), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), Interrupted(), ModuleNotFoundError("no"), OSError(errno.EIO, "no")])  # fmt: skip
def test_what_is_none_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, told_as(ours, passing=Broken):
        raise error
    assert caught.value is error


def test_others_than_what_passes_are_told() -> None:
    told = "the file is broken: ValueError: no"
    with pytest.raises(ValueError, match=told), told_as(ours, passing=Broken):
        raise ValueError("no")


def test_a_long_reason_is_cut() -> None:
    with pytest.raises(ValueError, match="x" * 200) as caught, told_as(ours):
        raise KeyError("x" * 10_000)
    assert len(str(caught.value)) < 400


def test_a_tokenizer_that_panics_over_a_text_is_an_answer_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panic of a tokenizer.json whose merges name no token comes with the first such text."""
    task = TextClassification(["a", "b"], tokenizer_text())
    predictor = Predictor(task, lambda inputs: inputs["input_ids"], "onnxruntime", tmp_path)

    def panic(*_: object) -> None:
        raise PanicException("no entry found for key")

    monkeypatch.setattr(TextClassification, "encode", panic)
    with pytest.raises(ValueError, match="the preprocessing fails on this input: PanicException: no"):  # fmt: skip
        predictor.predict("Ada lives")
