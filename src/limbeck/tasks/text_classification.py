"""One label for a text, or for a pair of texts. Metric: accuracy; macro F1 beside it.

How a pair is read, and where that deviates from BERT, `inputs/text.py` says.
"""

from limbeck.tasks.heads.one_label import OneLabel
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask


class TextClassification(JoinedTask):
    """`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json`."""

    input_type = TextInput
    head_type = OneLabel
    auto_model = "AutoModelForSequenceClassification"
