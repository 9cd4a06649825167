"""A vector for a text, such that texts that mean the same lie close: the encoder's mean over
tokens, scaled to length 1 (Sentence-BERT, Reimers and Gurevych, 2019, arXiv 1908.10084, section 3).
Metric: Spearman's correlation between the cosine of a pair and its score (section 4.1).

Deviation: scores are on the scale of cosines, as in their regression objective, but the range of
the labels maps to 0 to 1.
"""

from limbeck.tasks.heads.similarity import Similarity
from limbeck.tasks.inputs.separate_texts import SeparateTextsInput
from limbeck.tasks.joined import JoinedTask


class SentenceEmbedding(JoinedTask):
    """`labels`: one, the range of the scores; `preprocess`: the text of a `tokenizer.json`."""

    input_type = SeparateTextsInput
    head_type = Similarity
    auto_model = "AutoModel"
