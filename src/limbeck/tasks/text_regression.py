"""A number for a text, or for a pair of texts. Metric: Spearman's rank correlation with the labels;
Pearson's and the root mean square error beside it (`heads/number.py`).
"""

from limbeck.tasks.heads.number import Number
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask


class TextRegression(JoinedTask):
    """`labels`: one, the range of the numbers; `preprocess`: the text of a `tokenizer.json`."""

    input_type = TextInput
    head_type = Number
    auto_model = "AutoModelForSequenceClassification"
