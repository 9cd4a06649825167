"""Find the item that belongs to a query, by the cosine of their vectors (two towers: Henderson et
al., 2017, arXiv 1705.00652). Metric: the mean reciprocal rank of a query's item among all distinct
items of its split; recall at 1 and at 10 beside it (`heads/item_of_query.py`).

The model is that of `sentence_embedding`. One encoder serves both sides, as in E5 (Wang et al.,
2022, arXiv 2212.03533), which tells them apart by a prefix; write one into the texts where a model
was trained with it. Two encoders are left out: what matches layers, stores a teacher's answers and
answers a single text goes by one text alone, and a text does not say on which side it stands.
"""

from limbeck.tasks.heads.item_of_query import ItemOfQuery
from limbeck.tasks.inputs.separate_texts import SeparateTextsInput
from limbeck.tasks.joined import JoinedTask


class Ranking(JoinedTask):
    """`labels`: none, as items are no classes; `preprocess`: the text of a `tokenizer.json`."""

    input_type = SeparateTextsInput
    head_type = ItemOfQuery
    auto_model = "AutoModel"
