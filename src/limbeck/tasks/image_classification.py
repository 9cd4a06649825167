"""One label for an image. Metric: accuracy, the share of rows whose largest logit is the true label; macro F1 and macro AUC beside it.

Preprocessing (`preprocess.json`): an image becomes (channels, height, width) float32, value / 255, less the mean, over the standard deviation of each
channel. Another size is resized by Pillow first (`resample`, else bilinear); with an `edge`, the shorter side to that, and the centre is cropped.
The same numpy lines run in training and in the artifact's runtime.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.sources._images import decode
from limbeck.tasks import Scored, _single_label
from limbeck.tasks.packed import Images

FITTED = 2000  # images that mean and standard deviation are taken from


@dataclass(frozen=True)
class ImageClassification:
    """`labels` in order of the logits; `preprocess`: JSON with height, width, channels, mean, std."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "accuracy"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "auc")
    hard_loss: ClassVar[str] = "cross_entropy"
    auto_model: ClassVar[str] = "AutoModelForImageClassification"
    preprocess_file: ClassVar[str] = "preprocess.json"
    input_names: ClassVar[tuple[str, ...]] = ("pixel_values",)
    row_keys: ClassVar[tuple[str, ...]] = ("image", "label")
    likelihood: ClassVar[str] = "categorical"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        return _single_label.find_labels(rows)

    @staticmethod
    def stratum(row: Row) -> str:
        return str(row["label"])

    @staticmethod
    def content(row: Row) -> Any:
        return row["image"].shape, row["image"].tobytes()

    @staticmethod
    def fit_preprocess(rows: Sequence[Row]) -> str:
        """Size of the first image, mean and standard deviation of the training pixels."""
        first = rows[0]["image"]
        channels = 1 if first.ndim == 2 else first.shape[2]
        levels = np.arange(256) / 255
        counts = np.sum(
            [histograms(row["image"].reshape(-1, channels)) for row in rows[:FITTED]], 0
        )
        shares = counts / counts.sum(1, keepdims=True)
        mean = shares @ levels
        std = np.sqrt(((levels - mean[:, None]) ** 2 * shares).sum(1))
        return json.dumps(
            {"height": first.shape[0], "width": first.shape[1], "channels": channels}
            | {"mean": mean.round(4).tolist(), "std": np.maximum(std, 1e-3).round(4).tolist()}
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        return json.loads(self.preprocess)

    @property
    def padding(self) -> dict[str, int]:
        return {}

    def encode(self, rows: Sequence[Row]) -> Images:
        labels = np.concatenate(_single_label.encode_labels(rows, self.labels))
        return Images([row["image"] for row in rows], labels, self.pixels)

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, 3) uint8 to (C, height, width) float32."""
        from PIL import Image

        settings = self.settings
        picture = self.resized(
            Image.fromarray(image).convert("L" if settings["channels"] == 1 else "RGB")
        )
        values = np.asarray(picture, np.float32).reshape(
            settings["height"], settings["width"], settings["channels"]
        ) / np.float32(255)
        normal = (values - np.float32(settings["mean"])) / np.float32(settings["std"])
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def resized(self, picture: Any) -> Any:
        """A Pillow image in the size that the model reads."""
        from PIL import Image

        settings, (width, height) = self.settings, picture.size
        wanted = (settings["width"], settings["height"])
        method = Image.Resampling[settings.get("resample", "bilinear").upper()]
        if "edge" not in settings:
            return picture if picture.size == wanted else picture.resize(wanted, method)
        edge, short = settings["edge"], min(width, height)
        if short != edge:
            picture = picture.resize(
                (int(edge * width / short), int(edge * height / short)), method
            )
        left, top = (picture.width - wanted[0]) // 2, (picture.height - wanted[1]) // 2
        return picture.crop((left, top, left + wanted[0], top + wanted[1]))

    def row(self, raw: Any) -> Row:
        """A row from a path, the bytes of an image file, or an array of uint8. Raises ValueError for what is no image."""
        if isinstance(raw, np.ndarray):
            if raw.dtype != np.uint8 or (raw.ndim != 2 and raw.shape[2:] != (3,)):
                raise ValueError(
                    f"an image array is (H, W) or (H, W, 3) of uint8, not {raw.shape} of {raw.dtype}"
                )
            return {"image": raw}
        if not isinstance(raw, str | bytes | Path):
            raise ValueError(
                f"an image is a path, the bytes of an image file or an array of uint8, not {type(raw).__name__}"
            )
        try:
            return {"image": decode(raw, "L" if self.settings["channels"] == 1 else "RGB")}
        except ValueError as error:
            raise ValueError(
                f"{'the bytes given' if isinstance(raw, bytes) else raw}: {error}"
            ) from None

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(1, V) logits to the label, its probability and all probabilities."""
        return _single_label.decode(self.labels, logits)

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 3 V): hits, predictions and true rows of each label, row by row."""
        return _single_label.statistics(scored, len(self.labels))

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 3 V) to accuracy and macro F1, each in [0, 1]."""
        return _single_label.metrics(totals)

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """(R) the macro AUC of the probabilities under each row of `weights` (R, N)."""
        return _single_label.ranked(scored, weights)


def histograms(pixels: np.ndarray) -> np.ndarray:
    """(C, 256) how often each channel of uint8 pixels (P, C) has each value."""
    return np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
