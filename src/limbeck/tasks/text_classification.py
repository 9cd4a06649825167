"""One label for a text, or for a pair of texts. Metric: accuracy; macro F1 beside it.

A pair is read as the tokenizer joins it (`[CLS] a [SEP] b [SEP]`); of the two the longer is cut
first. Deviation from BERT: no segment ids, so that a teacher and a student of any family read the
same inputs.
"""

from limbeck.tasks.heads.one_label import OneLabel
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask


class TextClassification(JoinedTask):
    """`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json`."""

    input_type = TextInput
    head_type = OneLabel
    auto_model = "AutoModelForSequenceClassification"
