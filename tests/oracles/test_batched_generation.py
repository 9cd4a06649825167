"""Answers of a batch in torch: as those of one prompt after another, and as transformers writes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from generation_models import save_model
from torch import nn

from limbeck.artifact.generation.sampling import Sampling, choose
from limbeck.models.generation.batched import Decoding, Prompt, generate

PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [5, 6, 7, 8], [40, 41]]
END = 2


def llama(folder: Path) -> nn.Module:
    save_model(folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).eval()


def gpt2() -> nn.Module:
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=60, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config).eval()


def opt() -> nn.Module:
    """Its positions are counted from the mask."""
    torch.manual_seed(2)
    config = transformers.OPTConfig(
        vocab_size=60,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )
    return transformers.OPTForCausalLM(config).eval()


def decoding(temperature: float = 0.0, top_p: float = 1.0, **keys: int) -> Decoding:
    return Decoding(Sampling(temperature, top_p), 12, (END,), 0, keys.get("positions", 64))


def prompts(seed: int = 0) -> list[Prompt]:
    return [Prompt(ids, np.random.default_rng([seed, i])) for i, ids in enumerate(PROMPTS)]


def by_whole_texts(model: nn.Module, prompt: Prompt, asked: Decoding) -> list[int]:
    """Slow and obvious: the whole text is read again for every token."""
    ids = list(prompt.ids)
    while len(ids) - len(prompt.ids) < asked.max_new_tokens:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        ids.append(choose(logits, np.array(ids), asked.sampling, prompt.generator))
        if ids[-1] in asked.end_ids:
            break
    return ids[len(prompt.ids) :]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.5, 1.0), (0.9, 0.8)])
def test_a_batch_is_answered_as_each_prompt_alone(
    kind: str, temperature: float, top_p: float, tmp_path: Path
) -> None:
    model = llama(tmp_path) if kind == "llama" else {"gpt2": gpt2, "opt": opt}[kind]()
    asked = decoding(temperature, top_p)
    together = generate(model, prompts(), asked)
    assert together == [by_whole_texts(model, prompt, asked) for prompt in prompts()]
    assert together == [generate(model, [prompt], asked)[0] for prompt in prompts()]
    # In another company, too.
    assert together[::-1] == generate(model, prompts()[::-1], asked)
    assert len({tuple(answer) for answer in together}) == len(PROMPTS)


def test_greedy_answers_are_those_of_transformers(tmp_path: Path) -> None:
    model = llama(tmp_path)
    expected = []
    for ids in PROMPTS:
        text = model.generate(
            torch.tensor([ids]),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )
        expected.append(text[0, len(ids) :].tolist())
    assert generate(model, prompts(), decoding()) == expected


def test_an_answer_ends_with_its_end_token_and_others_go_on(tmp_path: Path) -> None:
    model = llama(tmp_path)
    free = generate(model, prompts(), decoding())
    # A token that one answer meets early and another never.
    end = next(t for t in free[0][1:6] if any(t not in other for other in free[1:]))
    asked = Decoding(Sampling(), 12, (end,), 0, 64)
    ended = generate(model, prompts(), asked)
    for whole, cut in zip(free, ended, strict=True):
        stop = whole.index(end) + 1 if end in whole else len(whole)
        assert cut == whole[:stop]
    assert len(ended[0]) < 12 and max(map(len, ended)) == 12


def test_prompt_and_answer_have_at_most_the_positions(tmp_path: Path) -> None:
    answers = generate(llama(tmp_path), prompts(), decoding(positions=7))
    assert [len(answer) for answer in answers] == [4, 6, 0, 3, 5]


def test_another_seed_draws_other_answers_and_the_same_seed_the_same(tmp_path: Path) -> None:
    model = llama(tmp_path)
    asked = decoding(1.5)
    assert generate(model, prompts(1), asked) == generate(model, prompts(1), asked)
    assert generate(model, prompts(1), asked) != generate(model, prompts(2), asked)


def test_what_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompt has no token"):
        generate(llama(tmp_path), [Prompt([], np.random.default_rng(0))], decoding())
    with pytest.raises(ValueError, match=r"Linear cannot write answers.*no `cache`"):
        generate(nn.Linear(2, 2), prompts(), decoding())
