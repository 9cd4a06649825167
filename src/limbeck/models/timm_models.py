"""Image models of `timm` (Wightman, 2019), by name: `timm:resnet18.a1_in1k`. They need the extra `vision`: timm imports torchvision."""

from typing import Any

import torch
from torch import nn

PREFIX = "timm:"


def library() -> Any:
    """The module timm. Raises ValueError naming the extra."""
    try:
        import timm
    except (
        ImportError,
        RuntimeError,
    ) as error:  # a torchvision of another build than torch raises RuntimeError
        raise ValueError(
            f"models called `{PREFIX}NAME` need timm and torchvision ({error}). pip install 'limbeck[vision]'"
        ) from None
    return timm


def create(name: str, num_labels: int, *, pretrained: bool) -> nn.Module:
    """The model behind `timm:NAME` with a new head. Raises ValueError for a name that timm does not know."""
    timm = library()
    own = name.removeprefix(PREFIX)
    if not timm.is_model(own.split(".")[0]):
        near = ", ".join(timm.list_models(f"*{own.split('.')[0]}*")[:8])
        raise ValueError(
            f"model `{name}`: timm has no model of this name. Near it: {near or 'none; timm.list_models() lists all'}"
        )
    return _Named(timm.create_model(own, pretrained=pretrained, num_classes=num_labels))


def settings(name: str) -> dict[str, Any]:
    """The settings of `preprocess.json` that the model was trained with."""
    timm = library()
    found = timm.data.resolve_data_config({}, model=timm.create_model(name.removeprefix(PREFIX)))
    channels, height, width = found["input_size"]
    size = {"height": height, "width": width, "edge": int(min(height, width) / found["crop_pct"])}
    return {
        **size,
        "channels": channels,
        "mean": list(found["mean"]),
        "std": list(found["std"]),
        "resample": found["interpolation"],
    }


class _Named(nn.Module):
    """A model whose input is called `pixel_values`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values)
