"""What a masked language model says in place of a word (TinyBERT, Jiao et al., 2020, arXiv
1909.10351, algorithm 1).

A word that is one piece of the model's vocabulary is hidden behind its mask token, and the
likeliest whole words are proposed. A word of several pieces, which one mask cannot stand for, gets
the words nearest to it by the model's own word embeddings.

Deviations:
- Those embeddings stand in place of GloVe's, as in `replace_by_embedding`.
- The model sees the sentence as it was, not with what was replaced before, so that a place is asked
  once for all copies (as the authors' code does too).
"""

from typing import Any

import torch

from limbeck.data.augmenters import Propose
from limbeck.data.augmenters._masks import Masks
from limbeck.data.augmenters._whole_words import MAX_TOKENS, WholeWords
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.complete import check_finite
from limbeck.models.published.hub import having, locate, quiet, reading
from limbeck.models.published.vocabulary import check_table
from limbeck.tasks.masked_lm import MaskedLm


class ReplaceByMask:
    """`model`: a folder or hub id of `transformers` with the head of a masked language model
    (`task: masked-lm` leaves one); the teacher's where it is left out.

    `candidates`: how many of the likeliest words a replacement is drawn from (K in the paper, 15).
    """

    def __init__(self, model: str | None = None, candidates: int = 15) -> None:
        if candidates < 1:
            raise ValueError(f"replace_by_mask: candidates is at least 1, not {candidates}")
        self.model = model
        self.candidates = candidates

    def open(self, model: str) -> Propose:
        """Load the model.

        Raises ValueError where its head was never trained, or its tokenizer has no mask token.
        """
        task = MaskedLm([], preprocess(model, MaskedLm, [], MAX_TOKENS))
        network = load(model)
        table = network.get_input_embeddings().weight.detach()
        check_table(table, task.input.tokenizer, model)
        whole_words = WholeWords(task.input.tokenizer, table)
        return Masks(task, network, whole_words, self.candidates, task.mask_id)


def load(name: str) -> Any:
    """The model with its head, in eval mode.

    Raises ValueError where the head's weights are not in the folder: they would be drawn at random.
    """
    import transformers

    with reading(name), quiet(), having(name, MaskedLm.auto_model):
        network, report = transformers.AutoModelForMaskedLM.from_pretrained(
            locate(name),
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    # `transformers` draws weights that a folder lacks, and warns of it at most.
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"augment.model: `{name}` has no trained head to say hidden words with "
            f"({missing[0]} is missing). Name a masked language model, such as "
            "the folder `model` of a run with `task: masked-lm`, "
            "or take `method: replace_by_embedding`"
        )
    check_finite(network, f"augment.model: `{name}`", name)
    return network.eval()
