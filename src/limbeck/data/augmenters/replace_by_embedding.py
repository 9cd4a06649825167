"""Words whose embeddings are nearest by cosine, whatever stands around them (TinyBERT, Jiao et al.,
2020, arXiv 1909.10351, algorithm 1, line 10).

Deviation: the table is the word embeddings of a model at hand, the teacher's by default, in place
of GloVe's. Nothing is downloaded, and what replaces a word is a word that the teacher knows. A word
of several pieces has the mean of their embeddings.
"""

from collections.abc import Sequence
from functools import partial

from limbeck.data.augmenters import Place, Propose
from limbeck.data.augmenters._whole_words import MAX_TOKENS, WholeWords
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.hub import locate, quiet, reading
from limbeck.models.published.vocabulary import check_table
from limbeck.tasks.inputs.tokenized import open_tokenizer
from limbeck.tasks.masked_lm import MaskedLm


class ReplaceByEmbedding:
    """`model`: a folder or hub id of `transformers`; the teacher's where it is left out.

    `candidates`: how many of the nearest words a replacement is drawn from (K in the paper, 15).
    """

    def __init__(self, model: str | None = None, candidates: int = 15) -> None:
        if candidates < 1:
            raise ValueError(f"replace_by_embedding: candidates is at least 1, not {candidates}")
        self.model = model
        self.candidates = candidates

    def open(self, model: str) -> Propose:
        """Read the table of embeddings. Raises ValueError where there is no such model."""
        import transformers

        tokenizer = open_tokenizer(preprocess(model, MaskedLm, [], MAX_TOKENS))
        with reading(model), quiet():
            network = transformers.AutoModel.from_pretrained(
                locate(model), attn_implementation="eager", trust_remote_code=False
            )
        # Of the whole model only its embeddings are kept.
        table = network.get_input_embeddings().weight.detach()
        # A word's embedding is read from the table without the model, by which nothing fails.
        check_table(table, tokenizer, model)
        return partial(propose, WholeWords(tokenizer, table), self.candidates)


def propose(
    whole_words: WholeWords,
    candidates: int,
    places: Sequence[Place],
) -> list[list[str]]:
    """The nearest words of each place's word; each different word is looked up once."""
    asked = [words[place] for words, place in places]
    different = list(dict.fromkeys(asked))
    nearest = whole_words.nearest(different, candidates)
    # The sentence does not matter here, so a word has one answer.
    by_word = dict(zip(different, nearest, strict=True))
    return [by_word[word] for word in asked]
