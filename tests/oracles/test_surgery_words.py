"""Surgeries of the word embeddings: the factorization against the singular values, the trimmed tokenizer against the whole one, kind by kind."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.tiny_models import bert, logits
from surgical import IMAGES, SENTENCES, cut, read, task_of, teacher
from task_examples import EXAMPLES, TEXT, VOCABULARY
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds
from torch import nn

from limbeck.models.folders import save_model
from limbeck.surgeries import Evidence
from limbeck.surgeries.trim_vocabulary import trimmed
from limbeck.tasks.text_classification import TextClassification

WORDS = [
    "low",
    "lower",
    "lowest",
    "newest",
    "newer",
    "wide",
    "wider",
    "widest",
    "new",
    "old",
    "older",
    "oldest",
]


def table(model: nn.Module) -> torch.Tensor:
    return model.get_submodule("bert.embeddings.word_embeddings").weight.detach().double()  # type: ignore[return-value, union-attr, operator]


@pytest.mark.parametrize("rank", [1, 5, 17])
def test_the_product_is_the_nearest_of_its_rank_and_counted(rank: int) -> None:
    """Eckart and Young: what is lost are the singular values that were left out."""
    whole = teacher()
    student = cut("factorize_embedding", {"rank": rank}).student
    found: Any = student.get_submodule("bert.embeddings.word_embeddings")
    product = (found.projection.weight.double() @ found.table.weight.double().T).T.detach()
    lost = np.linalg.svd(table(whole).numpy(), compute_uv=False)[rank:]
    assert float((product - table(whole)).square().sum()) == pytest.approx(
        float((lost**2).sum()), rel=1e-5, abs=1e-10
    )
    words, width = table(whole).shape
    saved = words * width - rank * (words + width)
    assert (
        sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in student.parameters())
        == saved
    )


@pytest.mark.parametrize("rank", [0, 18])
def test_a_rank_that_cannot_be_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank {rank} is not between 1 and 17"):
        cut("factorize_embedding", {"rank": rank})


def test_a_second_factorization_is_refused() -> None:
    with pytest.raises(ValueError, match="is factorized already, with rank 5"):
        cut("factorize_embedding", {"rank": 4}, cut("factorize_embedding", {"rank": 5}).student)


def test_words_are_trimmed_from_a_factorized_embedding() -> None:
    first = cut("factorize_embedding", {"rank": 5}).student
    second = cut("trim_vocabulary", {}, first)
    assert second.student.get_submodule("bert.embeddings.word_embeddings.table").weight.shape == (
        16,
        5,
    )
    assert torch.equal(
        logits(second.student, read(task_of(second), SENTENCES[0])),
        logits(first, read(TEXT, SENTENCES[0])),
    )


@pytest.mark.parametrize(
    ("name", "keys"), [("factorize_embedding", {"rank": 2}), ("trim_vocabulary", {})]
)
def test_a_model_whose_outputs_are_its_vocabulary_is_refused(
    name: str, keys: dict[str, Any]
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=17,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    with pytest.raises(ValueError, match="the outputs of BertForMaskedLM are its vocabulary"):
        cut(name, keys, BertForMaskedLM(config))


def test_a_task_on_images_is_refused() -> None:
    with pytest.raises(ValueError, match="this task reads no texts"):
        cut("trim_vocabulary", {}, evidence=IMAGES)


# The tokenizer


def finished(tokenizer: Tokenizer, specials: list[str]) -> str:
    """With special tokens, their ids in the post-processor, truncation and padding, as `models.preprocess` leaves it."""
    tokenizer.add_special_tokens(specials)
    ids = {token: tokenizer.token_to_id(token) for token in specials}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{specials[1]} $A {specials[2]}",
        special_tokens=[(each, ids[each]) for each in specials[1:3]],
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(pad_id=ids[specials[0]], pad_token=specials[0])
    return tokenizer.to_str()


def word_piece() -> str:
    tokens = [
        "[PAD]",
        "[unused1]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *"abcdelnorstwi",
        *(f"##{letter}" for letter in "abcdelnorstwi"),
        "low",
        "##est",
        "##er",
        "new",
        "wide",
        "##st",
        "##r",
        "old",
    ]
    tokenizer = Tokenizer(
        kinds.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = (
        normalizers.BertNormalizer(lowercase=True),
        pre_tokenizers.BertPreTokenizer(),
    )
    return finished(tokenizer, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"])


def byte_pairs() -> str:
    """Each word's prefixes are merged in turn, and so are some of its ends: several ways lead to some tokens."""
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        merges += [
            (word[:i], word[i]) for i in range(1, len(word)) if (word[:i], word[i]) not in merges
        ]
        merges += [pair for pair in ((word[-2], word[-1]), ("Ġ", word)) if pair not in merges]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys(
        ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *(a + b for a, b in merges)]
    )
    tokenizer = Tokenizer(kinds.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    text = json.loads(finished(tokenizer, ["<pad>", "<s>", "</s>", "<unk>"]))
    text["post_processor"] = {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": True,
        "add_prefix_space": True,
    }
    return json.dumps(text)


def unigram() -> str:
    chance = random.Random(0)
    found = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    found += [(letter, -6.0) for letter in "abcdelnorstwi"] + [
        (part, -4 - chance.random())
        for part in ("▁low", "est", "er", "▁new", "▁wide", "▁old", "st", "▁newer", "▁wid")
    ]
    tokenizer = Tokenizer(kinds.Unigram(found, 3, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return finished(tokenizer, ["<pad>", "<s>", "</s>", "<unk>"])


KINDS = {"WordPiece": word_piece, "BPE": byte_pairs, "Unigram": unigram}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_seen_texts_have_the_same_tokens_and_others_still_have_some(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    seen = [" ".join(chance.choices(WORDS[:9:2], k=chance.randint(1, 12))) for _ in range(6)] + [
        "low zzz wide",
        "xlow Ölow",
    ]
    whole = KINDS[kind]()
    kept, fewer = trimmed(whole, seen, set())
    before, after = Tokenizer.from_str(whole), Tokenizer.from_str(fewer)
    assert len(kept) == after.get_vocab_size() < before.get_vocab_size()
    for text in seen:
        assert before.encode(text).tokens == after.encode(text).tokens
        assert before.encode(text).ids == [kept[i] for i in after.encode(text).ids]
    assert after.truncation == before.truncation
    after.no_truncation()
    for text in (*WORDS, "a text of another kind: ß 語"):
        assert after.encode(text, add_special_tokens=False).ids
        if kind == "BPE":
            assert after.decode(after.encode(text).ids).strip() == text
    assert after.padding["pad_id"] == before.padding["pad_id"]
    special = {i: token.content for i, token in before.get_added_tokens_decoder().items()}
    assert {
        kept[i]: token.content for i, token in after.get_added_tokens_decoder().items()
    } == special


def test_a_merge_that_no_seen_word_needs_is_gone() -> None:
    whole, text = byte_pairs(), trimmed(byte_pairs(), ["low"], set())[1]
    assert ["n", "e"] in json.loads(whole)["model"]["merges"]
    assert json.loads(text)["model"]["merges"] == [["l", "o"], ["lo", "w"], ["Ġ", "low"]]


def test_an_unknown_word_stays_unknown() -> None:
    """`lowx` is unknown since nothing follows `low`; without `low` its letters would be found one by one."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "l", "##o", "##wx", "low"]
    tokenizer = Tokenizer(
        kinds.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    text = finished(tokenizer, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    fewer = Tokenizer.from_str(trimmed(text, ["lowx"], set())[1])
    assert fewer.encode("lowx", add_special_tokens=False).tokens == ["[UNK]"]
    assert Tokenizer.from_str(trimmed(text, ["l"], set())[1]).token_to_id("low") is None


def test_another_kind_of_tokenizer_is_refused() -> None:
    words = Tokenizer(kinds.WordLevel({"[PAD]": 0, "a": 1}, unk_token="[PAD]"))
    with pytest.raises(
        ValueError,
        match="the tokenizer is a WordLevel, and only WordPiece, BPE, Unigram are trimmed",
    ):
        trimmed(words.to_str(), ["a"], set())


# The student


def test_the_student_answers_as_the_teacher_to_what_was_seen() -> None:
    whole = teacher()
    found = cut("trim_vocabulary", {}, whole)
    student: Any = found.student
    assert student.config.vocab_size == len(table(student)) == len(VOCABULARY) - 1  # without ##er
    for row in SENTENCES:
        assert torch.equal(
            logits(student, read(task_of(found), row)), logits(whole, read(TEXT, row))
        )
    assert torch.equal(student.classifier.weight, whole.classifier.weight)  # type: ignore[arg-type, union-attr]


def test_a_corpus_is_seen_as_well(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("in\nYorker\n")
    found = cut("trim_vocabulary", {"corpus": str(tmp_path / "corpus.txt")})
    assert len(table(found.student)) == len(VOCABULARY)


def test_pairs_are_seen_on_both_sides() -> None:
    task, rows, _ = EXAMPLES["text-classification"]
    found = cut("trim_vocabulary", {}, bert(len(VOCABULARY), labels=3), Evidence(task, rows[3:]))
    tokens = TextClassification(task.labels, found.preprocess or "").input.tokenizer.get_vocab()
    assert {"##lace", "##er", "Love", "York"} <= tokens.keys() and not {
        "Ada",
        "lives",
        "New",
    } & tokens.keys()


def test_special_ids_of_the_config_follow() -> None:
    whole: Any = teacher()
    (
        whole.config.cls_token_id,
        whole.config.sep_token_id,
        whole.config.bos_token_id,
        whole.config.eos_token_id,
    ) = 13, 14, 11, None
    config: Any = cut("trim_vocabulary", {}, whole).student.config
    assert (config.cls_token_id, config.sep_token_id, config.bos_token_id, config.eos_token_id) == (
        12,
        13,
        None,
        None,
    )


def test_a_trimmed_folder_opens_in_transformers(tmp_path: Path) -> None:
    from transformers import BertForTokenClassification

    found = cut("trim_vocabulary", {})
    save_model(
        found.student,
        tmp_path,
        network=None,
        preprocess_file=TEXT.preprocess_file,
        text=found.preprocess or "",
    )
    loaded = BertForTokenClassification.from_pretrained(
        tmp_path, attn_implementation="eager"
    ).eval()
    inputs = read(task_of(found), SENTENCES[0])
    assert torch.equal(logits(loaded, inputs), logits(found.student, inputs))
