"""Any number of labels for a text, or for a pair of texts. Metric: micro F1 over all labels; macro
F1, exact match and label ranking average precision beside it (`heads/several_labels.py`).
"""

from limbeck.tasks.heads.several_labels import SeveralLabels
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask


class MultiLabelClassification(JoinedTask):
    """`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json`."""

    input_type = TextInput
    head_type = SeveralLabels
    auto_model = "AutoModelForSequenceClassification"
