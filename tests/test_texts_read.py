# ruff: noqa: RUF001 (letters of other scripts are the point)
"""What a model reads of a text: its tokens, how many, and the words of any script at their places."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import save_encoder
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from limbeck.core.scripts import word_pattern
from limbeck.data.splits import Splits
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.positions import num_positions
from limbeck.pipeline.preflight.check import Checked, check_texts
from limbeck.pipeline.preflight.token_counts import count_tokens, letters_of
from limbeck.recipe.reading import parse
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

LABELS = ["O", "B-LOC", "I-LOC"]


def byte_level(*, add_prefix_space: bool = False, trim_offsets: bool = True) -> Tokenizer:
    """A byte-level BPE that knows every byte, and a few words with the mark of a space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    merges = [("Ġ", "i"), ("Ġi", "n"), ("Ġ", "Y"), ("i", "n"), ("Y", "o"), ("ĠY", "o")]
    tokens += [first + second for first, second in merges]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=add_prefix_space
    )
    tokenizer.add_special_tokens(tokens[:4])
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    return tokenizer


def words_of(max_length: int = 64, side: str = "right", **options: bool) -> TokenClassification:
    tokenizer = byte_level(**options)
    tokenizer.enable_truncation(max_length, direction=side)
    return TokenClassification(LABELS, tokenizer.to_str())


SENTENCES = [
    ["I", "live", "in", "York", "in", "York"],
    ["in", "東京", "🙂", "in", "Å", "York"],
    ["one"],
]


@pytest.mark.parametrize("trim_offsets", [False, True])
@pytest.mark.parametrize("words", SENTENCES, ids=len)
def test_words_have_the_tokens_of_the_joined_text(words: list[str], trim_offsets: bool) -> None:
    task = words_of(trim_offsets=trim_offsets)
    (row,) = task.encode([{"words": words, "tags": [None] * len(words)}])
    expected = task.input.tokenizer.encode(" ".join(words))
    assert row.inputs["input_ids"].tolist() == expected.ids
    # Each word is read at its first token: what lies before has the words before it.
    assert row.positions is not None
    for number, position in enumerate(row.positions):
        before = task.input.tokenizer.decode(expected.ids[1:position])
        assert before.split() == words[:number]


def test_a_tokenizer_with_a_prefix_space_reads_words_one_by_one() -> None:
    """As before: its marks are there already."""
    task = words_of(add_prefix_space=True)
    (row,) = task.encode([{"words": SENTENCES[0], "tags": [None] * 6}])
    expected = task.input.tokenizer.encode(SENTENCES[0], is_pretokenized=True)
    assert row.inputs["input_ids"].tolist() == expected.ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_that_are_cut_off_have_no_place(side: str) -> None:
    words = [f"w{number}" for number in range(30)]
    whole = words_of(999)
    cut = words_of(20, side)
    row = {"words": words, "tags": [None] * 30}
    all_ids = whole.encode([row])[0].inputs["input_ids"][1:-1]
    (found,) = cut.encode([row])
    kept = all_ids[-18:] if side == "left" else all_ids[:18]
    assert found.inputs["input_ids"][1:-1].tolist() == kept.tolist()
    assert found.positions is not None
    is_cut = found.positions < 0
    assert 0 < is_cut.sum() < 30
    assert is_cut[0] == (side == "left")
    assert is_cut[-1] == (side == "right")
    counts = count_tokens(cut, [row], [found])
    assert (counts.rows, counts.cut_rows, counts.tokens) == (1, 1, 20)
    assert counts.cut_tokens == len(all_ids) - 18
    end = "beginning" if side == "left" else "end"
    (note,) = counts.cut_note("test")
    assert note.startswith(f"test: 1 of 1 texts are longer than 20 tokens and lose their {end}, ")


def roberta(folder: Path, **options: Any) -> str:
    """A RoBERTa of 66 positions, whose tokenizer says no length."""
    from transformers import PreTrainedTokenizerFast, RobertaConfig

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(), pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", **options,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    RobertaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=66, pad_token_id=1,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def test_texts_are_cut_at_the_positions_that_the_model_has(tmp_path: Path) -> None:
    name = roberta(tmp_path)
    assert num_positions(name) == 64
    for asked, expected in ((256, 64), (64, 64), (32, 32)):
        text = preprocess(name, TextClassification, [], asked)
        task = TextClassification(["a", "b"], text)
        (row,) = task.encode([{"text": "word " * 99, "label": "a"}])
        assert row.size == expected
    # Of a user's own module the folder is the tokenizer's alone.
    text = preprocess(name, TextClassification, [], 256, is_own=True)
    assert json.loads(text)["truncation"]["max_length"] == 256


def test_texts_are_cut_from_the_side_that_the_tokenizer_says(tmp_path: Path) -> None:
    name = roberta(tmp_path, truncation_side="left", model_max_length=12)
    task = TextClassification(["a", "b"], preprocess(name, TextClassification, [], 256))
    (row,) = task.encode([{"text": "the beginning, then the end", "label": "a"}])
    assert task.input.tokenizer.decode(row.inputs["input_ids"].tolist()) == "en the end"


@pytest.mark.parametrize("tokenizer_class", ["PreTrainedTokenizerFast", "GPT2Tokenizer"])
@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "olmo2", "llama", "roberta"])
def test_texts_are_parted_as_the_file_says(
    tmp_path: Path, model_type: str, tokenizer_class: str
) -> None:
    """huggingface/transformers 45920: its classes put pre-tokenizers of their own in place of the file's."""
    import transformers

    transformers.CONFIG_MAPPING[model_type]().save_pretrained(tmp_path)
    tokenizer = byte_level()
    # Digits one by one, and no space before a word: what none of the classes does.
    digits = pre_tokenizers.Split(Regex(r"\d|\p{L}+|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.no_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": tokenizer_class, "pad_token": "<pad>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = preprocess(str(tmp_path), TextClassification, [], 64, is_own=True)
    task = TextClassification(["a", "b"], text)
    (row,) = task.encode([{"text": "in 2023 Yo", "label": "a"}])
    assert row.inputs["input_ids"].tolist() == tokenizer.encode("in 2023 Yo").ids


def test_words_of_a_file_that_its_architecture_does_not_use_are_read(tmp_path: Path) -> None:
    """Whole words beside a config of Qwen2: `transformers` 5 made a BPE without merges of them, and every text was empty."""
    import transformers

    transformers.Qwen2Config().save_pretrained(tmp_path)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "sun", "rain"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    )
    fast.save_pretrained(tmp_path)
    text = preprocess(str(tmp_path), TextClassification, [], 64, is_own=True)
    (row,) = TextClassification(["a", "b"], text).encode([{"text": "rain sun snow", "label": "a"}])
    assert row.inputs["input_ids"].tolist() == [3, 2, 1]


@pytest.mark.parametrize("prefix_space", [False, True])
def test_a_config_beside_a_tokenizer_has_the_last_word_on_a_space_before_a_text(
    tmp_path: Path, prefix_space: bool
) -> None:
    import transformers

    transformers.RobertaConfig().save_pretrained(tmp_path)
    tokenizer = byte_level(add_prefix_space=not prefix_space)
    tokenizer.no_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": prefix_space}
    config |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = preprocess(str(tmp_path), TextClassification, [], 64, is_own=True)
    (row,) = TextClassification(["a", "b"], text).encode([{"text": "in", "label": "a"}])
    expected = byte_level(add_prefix_space=prefix_space).encode("in").ids
    assert row.inputs["input_ids"].tolist() == expected


@pytest.mark.parametrize("lowercase", [False, True])
def test_a_config_beside_a_tokenizer_has_the_last_word_on_case(
    tmp_path: Path, lowercase: bool
) -> None:
    name = save_encoder(tmp_path, ["Sun", "sun"], vocabulary=20, width=8, layers=1, lowercase=True)
    file = tmp_path / "tokenizer_config.json"
    changed = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    normalizer = json.loads(preprocess(name, TextClassification, [], 64))["normalizer"]
    assert normalizer["lowercase"] is lowercase


def test_texts_without_a_token_are_counted(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({"<pad>": 0, "a": 1, "b": 2}, []))
    tokenizer.add_special_tokens(["<pad>"])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding()
    task = TextClassification(["x"], tokenizer.to_str())
    rows = [{"text": text, "label": "x"} for text in ("ab", "東京", "b", "東", "京", "a")]
    counts = count_tokens(task, rows, task.encode(rows))
    assert (counts.rows, counts.wordless, counts.unknown) == (6, 3, 0)
    (told,) = counts.unknown_note("test")
    assert told.startswith("warning: 3 of 6 texts of test have no token in the tokenizer")
    assert (counts + counts).wordless == 6


def test_words_that_are_broken_into_letters_are_told(tmp_path: Path) -> None:
    """A model of English knows each letter of Russian, and no word."""
    name = save_encoder(tmp_path, ["login", "вд", "аходва"], vocabulary=40, width=8, layers=1)
    task = TextClassification(["a", "b"], preprocess(name, TextClassification, [], 64))
    rows = [{"text": "вход вход", "label": "a"}, {"text": "вода", "label": "b"}]
    counts = count_tokens(task, rows, task.encode(rows))
    assert (counts.letters, counts.ordinary, counts.unknown) == (12, 12, 0)
    (told,) = counts.unknown_note("train")
    assert told.startswith("warning: the tokenizer breaks the words of train into pieces of 1.0 ")
    english = [{"text": "login login", "label": "a"}]
    assert not count_tokens(task, english, task.encode(english)).unknown_note("train")


@pytest.mark.parametrize(
    ("texts", "count"), [(["ab c", " "], 3), (["東京 a"], 0), (["東 ab"], 3), ([], 0)]
)
def test_letters_are_those_of_scripts_with_words(texts: list[str], count: int) -> None:
    assert letters_of(texts) == count


def test_what_was_cut_and_what_is_unknown_is_counted(tmp_path: Path) -> None:
    name = save_encoder(tmp_path, ["ab", "cd"], vocabulary=12, width=8, layers=1)
    task = TextClassification(["a", "b"], preprocess(name, TextClassification, [], 8))
    texts = ["ab cd", "ab " * 10, "cd " * 6, "ሰላም ab"]
    rows = [{"text": text, "label": "a"} for text in texts]
    counts = count_tokens(task, rows, task.encode(rows))
    assert (counts.rows, counts.cut_rows, counts.limit) == (4, 1, 8)
    assert (counts.tokens, counts.cut_tokens) == (4 + 8 + 8 + 4, 4)
    assert (counts.ordinary, counts.unknown) == (2 + 6 + 6 + 2, 1)
    assert counts.cut_note("train") == [
        "train: 1 of 4 texts are longer than 8 tokens and lose their end, 14.3% of all tokens"
    ]
    assert "6.2% of the tokens of train are unknown" in counts.unknown_note("train")[0]
    twice = counts + counts
    assert (twice.rows, twice.cut_tokens, twice.unknown_share) == (8, 8, counts.unknown_share)


def test_check_says_what_the_tokenizer_does_not_know(tmp_path: Path) -> None:
    name = save_encoder(tmp_path, ["salam", "addis"], vocabulary=30, width=8, layers=1)
    recipe = parse(
        f"{{task: text-classification, data: {{source: rows}}, student: {{model: {name}}}}}"
    )

    def lines(text: str) -> list[str]:
        rows = [{"text": text, "label": label} for label in "abab"]
        checked = Checked()
        check_texts(recipe, Splits(rows, rows, rows, ["a", "b"]), checked, {})
        return checked.lines

    (line,) = lines("salam addis")
    assert line == f"texts: 0.0% of the tokens are unknown to the tokenizer of `{name}`"
    line, warning = lines("ሰላም አዲስ አበባ salam")
    assert line == f"texts: 75.0% of the tokens are unknown to the tokenizer of `{name}`"
    assert "Take a multilingual model, such as FacebookAI/xlm-roberta-base" in warning


# Scripts

# A text and its words, parted by spaces.
TEXTS = {
    "English": ("Ada's in New-York, 3.14!", "Ada's in New-York , 3.14 !"),
    "Hindi": ("मैं दिल्ली में रहता हूँ।", "मैं दिल्ली में रहता हूँ ।"),
    "Arabic with points": ("أعيش في القاهِرَة.", "أعيش في القاهِرَة ."),
    "Persian with a joiner": ("می\u200cخواهم بروم", "می\u200cخواهم بروم"),
    "Hebrew, direction marked": ("\u202bשָׁלוֹם\u202c ירושלים\u200f!", "שָׁלוֹם ירושלים !"),
    "Chinese": ("我住在北京。", "我 住 在 北 京 。"),
    "Chinese and English": ("我用Python3。", "我 用 Python3 。"),
    "Korean": ("서울에 살아요.", "서울에 살아요 ."),
    "accents apart": (unicodedata.normalize("NFD", "Málaga é."), "Ma\u0301laga e\u0301 ."),
    "emoji": ("👩‍👩‍👧 in 🇩🇪🇫🇷 👍🏽❤️ 1️⃣", "👩‍👩‍👧 in 🇩🇪 🇫🇷 👍🏽 ❤️ 1️⃣"),
    "Ethiopic": ("ሰላም፡አዲስ አበባ", "ሰላም ፡ አዲስ አበባ"),
    "Tamil": ("சென்னை நகரம்", "சென்னை நகரம்"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_words_of_any_script_lie_where_the_user_wrote_them(name: str) -> None:
    text, expected = TEXTS[name]
    task = words_of()
    row = task.row(text)
    assert row["words"] == expected.split(" ")
    assert [text[start:end] for start, end in row["spans"]] == row["words"]
    assert word_pattern().findall(text) == row["words"]
    # An entity of the last two words, at the user's own characters.
    tags = [0] * len(row["words"])
    tags[-2:] = [1, 2]
    answer = task.decode(row, 9 * np.eye(3)[tags])
    (entity,) = answer["entities"]
    assert text[entity["start"] : entity["end"]] == entity["text"]
    assert entity["start"] == row["spans"][-2][0]
    assert entity["end"] == row["spans"][-1][1]


def test_a_script_without_spaces_is_cut_where_the_tokenizer_cuts() -> None:
    """Never between a character and its mark; without a tokenizer it stays whole."""
    text = "ผมอยู่ที่กรุงเทพฯ in 東京タワー"
    vocabulary = [
        ("<unk>", 0.0),
        ("ผม", -1.0),
        ("อยู่", -1.0),
        ("ที่", -1.0),
        ("กรุงเทพ", -1.0),
        ("ฯ", -1.0),
        ("タワー", -1.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 0))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(pad_id=0, pad_token="<unk>")
    row = TokenClassification(LABELS, tokenizer.to_str()).row(text)
    assert row["words"] == ["ผม", "อยู่", "ที่", "กรุงเทพ", "ฯ", "in", "東", "京", "タワー"]
    assert [text[start:end] for start, end in row["spans"]] == row["words"]
    whole = TokenClassification(LABELS, "").row(text)
    assert whole["words"][0] == "ผมอยู่ที่กรุงเทพฯ"
    # Bytes: a piece for each, of which a mark begins no word.
    found = words_of().row("กรุงเทพ")
    assert "".join(found["words"]) == "กรุงเทพ"
    assert not any(unicodedata.category(word[0]) == "Mn" for word in found["words"])


# Windows


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, TextClassification]:
    folder = tmp_path_factory.mktemp("encoder")
    name = save_encoder(folder, ["ab", "cd", "ef"], vocabulary=20, width=8, layers=1)
    text = preprocess(name, TextClassification, [], 12, long_texts="windows")
    return name, TextClassification(["a", "b"], text)


LONG = [
    {"text": "ab cd", "label": "a"},
    {"text": "ab cd ef " * 9, "label": "b"},
    {"text": "ef " * 11, "label": "b"},
]


def test_a_long_text_is_read_in_windows_that_overlap(
    windowed: tuple[str, TextClassification],
) -> None:
    _, task = windowed
    encoded = task.encode(LONG)
    assert [len(row.labels) for row in encoded] == [1, 4, 2]
    assert [row.labels.tolist() for row in encoded] == [[0], [1] * 4, [1, 1]]
    # Joined again without what each shares with the one before it, they are the whole text.
    whole = task.input.uncut.encode(LONG[1]["text"]).ids[1:-1]
    joined: list[int] = []
    for ids, mask in zip(*encoded[1].inputs.values(), strict=True):
        own = ids[mask == 1][1:-1].tolist()
        assert joined == [] or joined[-3:] == own[:3]
        joined += own[3:] if joined else own
    assert joined == whole
    counts = count_tokens(task, LONG, encoded)
    assert counts.cut_tokens == 0
    assert counts.cut_note("train") == [
        "train: 2 of 3 texts are longer than 12 tokens and are read in windows, 6 in all"
    ]
    with pytest.raises(ValueError, match="windows are read of single texts"):
        task.encode([{"text": "ab", "text_b": "cd", "label": "a"}])


def test_the_answer_to_a_long_text_is_the_mean_over_its_windows(
    windowed: tuple[str, TextClassification],
) -> None:
    import torch

    from limbeck.artifact.batches import in_batches
    from limbeck.models.create import create_model
    from limbeck.training.scoring import score_split

    name, task = windowed
    model = create_model(name, {}, task, seed=0).eval()
    encoded = task.encode(LONG)

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            given = {key: torch.from_numpy(value) for key, value in inputs.items()}
            return model(**given).logits.numpy()

    expected = []
    for row in encoded:
        of_windows = []
        for ids, mask in zip(*row.inputs.values(), strict=True):
            alone = {"input_ids": ids[mask == 1][None], "attention_mask": mask[mask == 1][None]}
            of_windows.append(graph(alone)[0])
        expected.append(np.mean(of_windows, 0))
    scored = score_split(model, encoded, task)
    np.testing.assert_allclose(scored.logits, expected, atol=1e-5)
    assert scored.labels.tolist() == [0, 1, 1]
    assert scored.offsets.tolist() == [0, 1, 2, 3]
    for batch_size in (1, 3):
        found = in_batches(graph, encoded, task.padding, batch_size)
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_windows_are_refused_where_nothing_is_averaged() -> None:
    from limbeck.recipe import validate

    keys = "data: {source: rows}, student: {model: any}, train: {long_texts: windows}"
    with pytest.raises(ValueError, match=r"token-classification` does not answer once a text"):
        validate.check_task(parse(f"{{task: token-classification, {keys}}}"))
    validate.check_task(parse(f"{{task: text-classification, {keys}}}"))
