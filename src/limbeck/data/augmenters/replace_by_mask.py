"""What a masked language model says in place of a word (TinyBERT, Jiao et al., 2020, arXiv 1909.10351, algorithm 1).

A word that is one piece of the model's vocabulary is hidden behind its mask token, and the likeliest whole words are proposed; a word of several
pieces, which one mask cannot stand for, gets the words nearest to it by the model's own word embeddings.

Deviations: those embeddings stand for GloVe's (as in `replace_by_embedding`); the model sees the sentence as it was, not with what was replaced
before, so that a place is asked once for all copies (as the authors' code does too).
"""

from typing import Any

import torch

from limbeck.data.augmenters import Propose
from limbeck.data.augmenters._masks import Masks
from limbeck.data.augmenters._vocabulary import MAX_TOKENS, Vocabulary
from limbeck.models.hub import having, locate, quiet, reading
from limbeck.models.preprocessing import preprocess
from limbeck.tasks.masked_lm import MaskedLm


class ReplaceByMask:
    """`model`: a `transformers` folder or hub id with a masked language model's head (`task: masked-lm` leaves one), the teacher's where it is left
    out. `candidates`: how many words are drawn from (K, 15)."""

    def __init__(self, model: str | None = None, candidates: int = 15) -> None:
        if candidates < 1:
            raise ValueError(f"replace_by_mask: candidates is at least 1, not {candidates}")
        self.model, self.candidates = model, candidates

    def open(self, model: str) -> Propose:
        """Load the model. Raises ValueError where it has no head that was trained, or its tokenizer no mask token."""
        task = MaskedLm([], preprocess(model, MaskedLm, [], MAX_TOKENS))
        network = load(model)
        return Masks(
            task,
            network,
            Vocabulary(task.input.tokenizer, network.get_input_embeddings().weight.detach()),
            self.candidates,
            task.mask_id,
        )


def load(name: str) -> Any:
    """The model with its head. Raises ValueError where the head's weights are not in the folder: they would be drawn at random."""
    import transformers

    with reading(name), quiet(), having(name, MaskedLm.auto_model):
        network, told = transformers.AutoModelForMaskedLM.from_pretrained(
            locate(name), attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(
            f"augment.model: `{name}` has no trained head to say hidden words with ({missing[0]} is missing). Name a masked language model, such as "
            "the folder `model` of a run with `task: masked-lm`, or take `method: replace_by_embedding`"
        )
    return network.eval()
