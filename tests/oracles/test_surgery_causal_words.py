"""The trimmed vocabulary of a causal language model: the same texts in, the same logits out on the tokens that stay."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import decoder, logits
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from limbeck.core import registry
from limbeck.models.folders import save_model
from limbeck.models.preprocessing import preprocess
from limbeck.surgeries import Evidence
from limbeck.tasks.inputs.dialogue import dialogue_file
from limbeck.tasks.text_generation import TextGeneration

TEXTS = [
    "the quick brown fox jumps over the lazy dog and the other dogs",
    "thank you for your order, we are looking into it: order 1234 is on its way!",
    "naïve café, 北京, 🦊 <|end|> the end of the day",
    "an unbelievable unlikely unlikelihood of widest newest lowest orders",
] * 3
SEEN = ["thank you for the quick order <|end|>", "naïve café of the fox <|end|>", "unlikely!"]


def byte_level() -> Tokenizer:
    """As GPT-2's and Llama 3's: words are bytes."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    # Last, as those of chat models are.
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama 2's and Gemma's: one word a text, and bytes for characters that are no token."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    bytes_as_tokens = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=["<pad>", "<unk>", *bytes_as_tokens],
        show_progress=False,
        limit_alphabet=40,
    )
    tokenizer.train_from_iterator([text.replace("🦊", "") for text in TEXTS], trainer)
    # Bytes are no special tokens: those are left out of a text.
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:2]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    return tokenizer


KINDS = {"byte level": byte_level, "SentencePiece": sentence_piece}


def task_of(kind: str) -> TextGeneration:
    tokenizer = KINDS[kind]()
    text = dialogue_file(
        tokenizer.to_str(),
        chat_template="{{ messages[0].content }}<|end|>",
        special_tokens={"bos_token": "<|start|>", "eos_token": "<|end|>"},
        end_ids=[tokenizer.token_to_id("<|end|>")],
        pad_id=0,
        max_tokens=64,
    )
    return TextGeneration([], text)


def model_of(task: TextGeneration, family: str, **settings: Any) -> Any:
    """Its table is longer than the vocabulary, as many are."""
    ends = json.loads(task.preprocess)["end_ids"]
    model = decoder(
        family,
        vocab_size=task.input.tokenizer.get_vocab_size() + 7,
        bos_token_id=task.input.tokenizer.token_to_id("<|start|>"),
        eos_token_id=[*ends, 5],
        **settings,
    )
    model.generation_config.eos_token_id = ends[0]
    return model


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("kind", KINDS)
def test_seen_texts_have_the_same_logits_on_tokens_that_stay(
    kind: str, family: str, tmp_path: Path
) -> None:
    import transformers

    task = task_of(kind)
    model = model_of(task, family, tie_word_embeddings=family != "phi3")
    corpus = tmp_path / "more.txt"
    corpus.write_text("lowest\n")
    rows: Any = [{"text": text} for text in SEEN]
    surgery = registry.create("surgeries", "trim_vocabulary", {"corpus": str(corpus)})
    found = surgery.cut(model, Evidence(task, rows))
    student: Any = found.student
    assert found.preprocess is not None
    smaller = TextGeneration([], found.preprocess)
    old, new = task.input.tokenizer, smaller.input.tokenizer
    assert new.get_vocab_size() < old.get_vocab_size() - 40
    # 1. The tokens that stay are the same words; of texts nobody saw none is lost.
    kept = [old.token_to_id(new.id_to_token(index)) for index in range(new.get_vocab_size())]
    for text in [*SEEN, "lowest"]:
        assert [kept[index] for index in new.encode(text).ids] == old.encode(text).ids
    if kind == "byte level":
        assert new.decode(new.encode("Zürich 🦊 widest").ids) == "Zürich 🦊 widest"
    # 2. The same logits.
    for row in task.encode(rows):
        ids = torch.from_numpy(row.inputs["input_ids"])[None]
        new_ids = torch.tensor([[kept.index(index) for index in ids[0].tolist()]])
        expected = logits(model, ids)[..., kept]
        torch.testing.assert_close(logits(student, new_ids), expected, rtol=0, atol=1e-5)
    # 3. Everything that names a token names the same one, in the files too.
    end, start = new.token_to_id("<|end|>"), new.token_to_id("<|start|>")
    content = json.loads(found.preprocess)
    assert content["end_ids"] == [end] and content["pad_id"] == 0
    assert student.generation_config.eos_token_id == end
    save_model(
        student,
        tmp_path / "m",
        network=None,
        preprocess_file="dialogue.json",
        text=found.preprocess,
    )
    assert not (tmp_path / "m/structure.json").exists()
    plain: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert plain.config.vocab_size == len(kept) == plain.lm_head.weight.shape[0]
    assert plain.config.bos_token_id == start
    assert plain.config.eos_token_id == [end, kept.index(5)]
    assert torch.equal(plain.get_input_embeddings().weight, student.get_input_embeddings().weight)
    tied = plain.get_input_embeddings().weight.data_ptr() == plain.lm_head.weight.data_ptr()
    assert tied == (family != "phi3")
    assert model.config.vocab_size == old.get_vocab_size() + 7
    # 4. Plain transformers finds the tokenizer there, and so does the next recipe.
    published = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert published(SEEN[0], add_special_tokens=False).input_ids == new.encode(SEEN[0]).ids
    chat = [{"role": "user", "content": "thank you"}]
    told = published.apply_chat_template(chat, tokenize=False)
    assert told == smaller.input.template.render(chat) == "thank you<|end|>"
    again = TextGeneration([], preprocess(str(tmp_path / "m"), TextGeneration, [], 64))
    assert again.encode(rows)[0].inputs["input_ids"].tolist() == new.encode(SEEN[0]).ids
    assert again.input.end_ids == [end] and again.padding == smaller.padding


def test_a_tokenizer_that_would_split_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.surgeries._tokenizer_json import TokenizerJson

    usual = TokenizerJson.keeping

    def without_merges(self: Any, kept: Any) -> str:
        content = json.loads(usual(self, kept))
        content["model"] |= {"merges": [], "ignore_merges": False}
        return json.dumps(content)

    monkeypatch.setattr(TokenizerJson, "keeping", without_merges)
    task = task_of("byte level")
    rows: Any = [{"text": text} for text in SEEN]
    with pytest.raises(ValueError, match="would split row 1 otherwise"):
        registry.create("surgeries", "trim_vocabulary", {}).cut(
            model_of(task, "llama"),
            Evidence(task, rows),
        )
