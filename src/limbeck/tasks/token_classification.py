"""One tag for each word. Metric: entity F1 by exact words and type over IOB2 tags; precision,
recall and the share of right words beside it (`heads/tags.py`).
"""

from limbeck.tasks.heads.tags import Tags
from limbeck.tasks.inputs.words import WordsInput
from limbeck.tasks.joined import JoinedTask


class TokenClassification(JoinedTask):
    """`labels` in order of the logits, O first; `preprocess`: the text of a `tokenizer.json`."""

    input_type = WordsInput
    head_type = Tags
    auto_model = "AutoModelForTokenClassification"
