"""One label for an image. Metric: accuracy; macro F1 and macro AUC beside it.

The AUC is what MedMNIST reports (Yang et al., 2023, arXiv 2110.14795).
"""

from limbeck.tasks.heads.one_label import OneLabelWithAuc
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.joined import JoinedTask


class ImageClassification(JoinedTask):
    """`labels` in order of the logits; `preprocess`: JSON of size, mean and standard deviation."""

    input_type = ImageInput
    head_type = OneLabelWithAuc
    auto_model = "AutoModelForImageClassification"
