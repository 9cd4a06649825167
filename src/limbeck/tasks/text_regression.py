"""A number for a text, or for a pair of texts. Metric: Spearman's rank correlation with the labels;
Pearson's and the root mean square error beside it (`heads/number.py`).
"""

from limbeck.tasks.heads.number import Number
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask


class TextRegression(
    JoinedTask, input=TextInput, head=Number, auto_model="AutoModelForSequenceClassification"
):
    """`labels`: one, the range of the numbers; `preprocess`: the text of a `tokenizer.json`."""
