"""Image models of `timm` (Wightman, 2019), by name: `timm:resnet18.a1_in1k`.

They need the extra `vision`, because timm imports torchvision.
"""

from typing import Any

from torch import Tensor, nn

from limbeck.models.published.complete import check_finite
from limbeck.models.published.hub import is_within_reach

PREFIX = "timm:"
# What timm asks the hub for, first to last.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


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
    _part_norms(timm, model)
    check_finite(model, f"model `{name}`")
    return _Timm(model)


def require(name: str) -> None:
    """Raise ValueError for a name that timm does not know, and for weights that cannot be had."""
    timm = library()
    timm_name = _known(timm, name)
    architecture, _, tag = timm_name.partition(".")
    names = timm.list_pretrained(f"{architecture}.*")
    if not names or (tag and f"{architecture}.{tag}" not in names):
        raise ValueError(
            f"model `{name}`: timm has no trained weights of this name. "
            f"It has: {', '.join(names[:8]) or f'none of {architecture}'}"
        )
    hub_id = timm.get_pretrained_cfg(timm_name).hf_hub_id
    if hub_id and not any(is_within_reach(hub_id, file) for file in WEIGHTS):
        raise ValueError(
            f"model `{name}`: its weights are not in the hub's cache, and the hub does not answer "
            f"here. Where there is a network, `hf download {hub_id}` puts them into a cache that "
            "can be copied to this machine (HF_HOME names its folder)"
        )


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


def _part_norms(timm: Any, model: nn.Module) -> None:
    """Put a batch norm and an activation in the place of each module that is both, in place.

    A product can take in a batch norm alone (`quantization.fold`).
    """
    for name, module in list(model.named_modules()):
        if type(module) is not timm.layers.BatchNormAct2d:
            continue
        norm = nn.BatchNorm2d(module.num_features, module.eps, module.momentum)
        # Its tensors, and what it was told of affine weights and running moments.
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(norm, key, getattr(module, key))
        norm.affine = module.affine
        norm.track_running_stats = module.track_running_stats
        model.set_submodule(name, nn.Sequential(norm, module.drop, module.act))


class _Timm(nn.Module):
    """A model whose input is called `pixel_values`, as those of `transformers` and ours are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values)
