"""Image models of `timm` (Wightman, 2019), by name: `timm:resnet18.a1_in1k`.

They need the extra `vision`, because timm imports torchvision.
"""

from typing import Any

from torch import Tensor, nn

PREFIX = "timm:"


def library() -> Any:
    """The module timm. Raises ValueError naming the extra where it is not installed."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        # A torchvision of another build than torch raises RuntimeError.
        raise ValueError(
            f"models called `{PREFIX}NAME` need timm and torchvision ({error}). "
            "pip install 'limbeck[vision]'"
        ) from None
    return timm


def create(
    name: str,
    num_labels: int,
    *,
    pretrained: bool,
) -> nn.Module:
    """The model behind `timm:NAME` with a new head.

    Raises ValueError for a name that timm does not know.
    """
    timm = library()
    model = timm.create_model(
        _known(timm, name),
        pretrained=pretrained,
        num_classes=num_labels,
    )
    return _Named(model)


def settings(name: str) -> dict[str, Any]:
    """The settings of `preprocess.json` that the model was trained with.

    Raises ValueError for a name that timm does not know.
    """
    timm = library()
    # With random weights: nothing is downloaded for the settings.
    model = timm.create_model(_known(timm, name))
    config = timm.data.resolve_data_config({}, model=model)
    channels, height, width = config["input_size"]
    return {
        "height": height,
        "width": width,
        "edge": int(min(height, width) / config["crop_pct"]),
        "channels": channels,
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "resample": config["interpolation"],
    }


def _known(timm: Any, name: str) -> str:
    """The name in timm's own list. Raises ValueError for any other.

    timm would read a config from the hub or a folder as well (`hf-hub:OWNER/NAME`,
    `local-dir:FOLDER`), which could ask for any number of layers.
    """
    timm_name = name.removeprefix(PREFIX)
    # The part behind the dot names weights of one architecture.
    architecture = timm_name.split(".")[0]
    if ":" in timm_name or not timm.is_model(architecture):
        # Of the hub's name the part that may be one of timm's.
        part = architecture.rpartition("/")[2].rpartition(":")[2]
        near = timm.list_models(f"*{part}*")[:8]
        raise ValueError(
            f"model `{name}`: timm has no model of this name. "
            f"Near it: {', '.join(near) or 'none; timm.list_models() lists all'}"
        )
    return timm_name


class _Named(nn.Module):
    """A model whose input is called `pixel_values`, as those of `transformers` and ours are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values)
