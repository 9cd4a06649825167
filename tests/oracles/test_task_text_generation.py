"""Which tokens are answers, and what a model's answers are worth, by transformers and by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from generation_models import CHATML, MARKED, save_model, save_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.evaluation.scores import quality
from limbeck.models.preprocessing import preprocess
from limbeck.tasks import Scored
from limbeck.tasks.inputs.dialogue import stretches
from limbeck.tasks.inputs.token_bytes import byte_lengths
from limbeck.tasks.packed import unit_offsets
from limbeck.tasks.text_generation import TextGeneration
from limbeck.training.scoring import score_split

DIALOGUES = [
    [("user", "where is my parcel?"), ("assistant", "it is on its way")],
    [
        ("system", "be kind"),
        ("user", "cancelled?"),
        ("assistant", "yes"),
        ("user", "ü 你好"),
        ("assistant", "thank you \n"),
    ],
    [("user", "a"), ("user", "b"), ("assistant", "assistant\n")],
]
ROWS = [
    {"messages": [{"role": role, "content": said} for role, said in each]} for each in DIALOGUES
]


def task_of(folder: Path, max_tokens: int = 128) -> TextGeneration:
    return TextGeneration([], preprocess(str(folder), TextGeneration, [], max_tokens))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generation")
    save_model(path)
    return path


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_units_are_the_tokens_that_transformers_masks_for_the_assistant(
    template: str, tmp_path: Path
) -> None:
    save_model(tmp_path, template=template)
    theirs = save_tokenizer(tmp_path / "marked", template=MARKED)
    task = task_of(tmp_path)
    for row in ROWS:
        (encoded,) = task.encode([row])
        expected = theirs.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        places = np.flatnonzero(expected["assistant_masks"])
        assert encoded.positions is not None
        np.testing.assert_array_equal(encoded.positions + 1, places)
        np.testing.assert_array_equal(encoded.labels, np.array(expected["input_ids"])[places])
        # Nobody predicts what follows the last answer.
        np.testing.assert_array_equal(
            encoded.inputs["input_ids"], expected["input_ids"][: places[-1] + 1]
        )


def test_nats_are_the_loss_of_transformers(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    task = task_of(folder)
    encoded = task.encode(ROWS)
    scored = score_split(model, encoded, task)
    nats, tokens, right = 0.0, 0, 0
    for row in encoded:
        ids = torch.from_numpy(row.inputs["input_ids"])[None]
        labels = torch.full_like(ids, -100)
        assert row.positions is not None
        labels[0, row.positions + 1] = torch.from_numpy(row.labels)
        with torch.no_grad():
            given_back = model(input_ids=ids, labels=labels)
        nats += float(given_back.loss) * len(row.labels)
        tokens += len(row.labels)
        right += int((given_back.logits[0, row.positions].argmax(-1).numpy() == row.labels).sum())
    found = quality(scored, task)
    answers = "".join(
        content.strip() if i == 0 else content
        for each in DIALOGUES
        for i, content in enumerate([said for role, said in each if role == "assistant"])
    )
    assert found["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(nats / tokens), rel=1e-4)
    assert found["accuracy"] == pytest.approx(right / tokens)
    # A template may strip what is said, and no byte of a special token counts.
    num_bytes = sum(
        len(said.encode()) for each in DIALOGUES for role, said in each if role == "assistant"
    )
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / num_bytes, rel=1e-4), answers


@given(length=st.integers(2, 60), max_tokens=st.integers(2, 20), data=st.data())
@settings(deadline=None, max_examples=60)
def test_every_unit_is_in_one_stretch_with_what_came_before_it(
    length: int, max_tokens: int, data: Any
) -> None:
    ids = np.arange(length) * 7
    chosen = data.draw(st.sets(st.integers(1, length - 1), min_size=1))
    units = np.array(sorted(chosen))
    seen = []
    for part in stretches(ids, units, max_tokens):
        assert part.positions is not None
        read = part.inputs["input_ids"]
        assert 2 <= len(read) <= max_tokens
        np.testing.assert_array_equal(np.diff(read), 7)
        np.testing.assert_array_equal(read[part.positions + 1], part.labels)
        seen += part.labels.tolist()
    assert seen == (units * 7).tolist()


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=60)
def test_tokens_have_the_bytes_of_the_text(text: str) -> None:
    byte_level = _byte_level()
    lengths = byte_lengths(
        byte_level, [byte_level.id_to_token(i) for i in range(byte_level.get_vocab_size())]
    )
    ids = byte_level.encode(text, add_special_tokens=False).ids
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if not any(each in text for each in special):
        assert lengths[ids].sum() == len(text.encode())
    assert lengths[:3].tolist() == [0, 0, 0]


def _byte_level() -> Any:
    if not _made:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            _made.append(save_tokenizer(Path(folder)).backend_tokenizer)
    return _made[0]


_made: list[Any] = []


def test_bytes_of_sentence_pieces() -> None:
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {"<unk>": 0, "\u2581the": 1, "<0x0A>": 2, "\u2581": 3, "ü": 4, "<|x|>": 5}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(["<unk>"])
    tokenizer.add_tokens(["<|x|>"])
    assert byte_lengths(tokenizer, list(vocabulary)).tolist() == [0, 4, 1, 1, 2, 5]


def test_a_question_has_one_unit_at_its_end(folder: Path) -> None:
    task = task_of(folder)
    for raw in (
        "where is",
        {"prompt": "where is my parcel?"},
        {"messages": ROWS[0]["messages"][:1]},
    ):
        row = task.row(raw)
        (encoded,) = task.encode([row])
        assert encoded.positions is not None
        assert encoded.positions.tolist() == [len(encoded.inputs["input_ids"]) - 1]
        logits = np.zeros((1, len(task.labels)))
        logits[0, 7] = 9
        assert task.decode(row, logits)["tokens"][0] == task.text_of(7)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (3, "not int"),
        ("  ", "empty text"),
        ({"messages": []}, "1 to 4,096 objects"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "its role is `robot`"),
        ({"text": "a", "label": "b"}, "a dict of text, label"),
    ],
)
def test_what_is_no_question_is_refused(raw: Any, told: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=told):
        task_of(folder).row(raw)


def test_a_model_without_a_chat_template_reads_texts_alone(tmp_path: Path) -> None:
    save_model(tmp_path, template=None)
    task = task_of(tmp_path)
    (encoded,) = task.encode([{"text": "where is my parcel?"}])
    assert len(encoded.labels) == len(encoded.inputs["input_ids"]) - 1
    with pytest.raises(ValueError, match="no chat template"):
        task.encode(ROWS)


def test_offsets_tell_parts_of_a_long_text(folder: Path) -> None:
    task = task_of(folder, max_tokens=8)
    encoded = task.encode([{"text": "where is my parcel? it is on its way, thank you for waiting"}])
    assert len(encoded) > 1
    logits = np.zeros((sum(len(row.labels) for row in encoded), 3), np.float32)
    scored = Scored(logits, np.concatenate([row.labels for row in encoded]), unit_offsets(encoded))
    assert quality(scored, task)["perplexity"] == 1
