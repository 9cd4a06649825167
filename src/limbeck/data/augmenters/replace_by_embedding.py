"""Words whose embeddings are nearest by cosine, whatever stands around them (TinyBERT, Jiao et al., 2020, arXiv 1909.10351, algorithm 1, line 10).

Deviation: the table is the word embeddings of a model at hand, the teacher's by default, instead of GloVe's: nothing is downloaded, and what replaces
a word is a word that the teacher knows. A word of several pieces has the mean of their embeddings.
"""

from collections.abc import Sequence
from functools import partial

from limbeck.data.augmenters import Place, Propose
from limbeck.data.augmenters._vocabulary import MAX_TOKENS, Vocabulary
from limbeck.models.hub import locate, quiet, reading
from limbeck.models.preprocessing import preprocess
from limbeck.tasks.inputs.tokenized import open_tokenizer
from limbeck.tasks.masked_lm import MaskedLm


class ReplaceByEmbedding:
    """`model`: a `transformers` folder or hub id, the teacher's where it is left out. `candidates`: how many words are drawn from (K, 15)."""

    def __init__(self, model: str | None = None, candidates: int = 15) -> None:
        if candidates < 1:
            raise ValueError(f"replace_by_embedding: candidates is at least 1, not {candidates}")
        self.model, self.candidates = model, candidates

    def open(self, model: str) -> Propose:
        """Read the table. Raises ValueError."""
        import transformers

        tokenizer = open_tokenizer(preprocess(model, MaskedLm, [], MAX_TOKENS))
        with reading(model), quiet():
            network = transformers.AutoModel.from_pretrained(locate(model))
        return partial(
            propose,
            Vocabulary(tokenizer, network.get_input_embeddings().weight.detach()),
            self.candidates,
        )


def propose(vocabulary: Vocabulary, candidates: int, places: Sequence[Place]) -> list[list[str]]:
    """The nearest words of each place's word; each different word is looked up once."""
    words = list(dict.fromkeys(words[place] for words, place in places))
    found = dict(zip(words, vocabulary.nearest(words, candidates), strict=True))
    return [found[words[place]] for words, place in places]
