"""A `transformers` image processor (preprocessor_config.json) as the settings of our own
`preprocess.json`, so that an artifact needs neither.

    pixel = ((value * factor - offset) - mean) / std        after resizing and cropping the centre

Ours divides a value by 255 instead; mean and std absorb factor and offset. Special cases:

- A class takes for granted what a file leaves out, and says whether `size: 224` is a square or the
  shorter side: `completed` asks it.
- Height and width with `do_center_crop` (DeiT, BEiT): the whole image is squeezed to that size, and
  the centre is cropped (`squeeze`).
- A short edge with `crop_pct` p (ResNet, ConvNeXt): the shorter side is resized to edge / p and the
  centre is cropped; from 384 pixels on the whole image is squeezed to a square instead.
- LeViT's short edge is resized to 256/224 of what its configuration says.
- EfficientNet with `include_top` divides by std twice.

What is done beyond that (channels in another order, padding) is refused by its key.
"""

from typing import Any

from limbeck.models.published.bounds import CONFIG
from limbeck.models.published.hub import MODEL, file_of, locate, quiet, reading

Json = dict[str, Any]

# What `crop_pct` is where a ConvNeXt's configuration does not say it (its processor's default).
CONVNEXT_SHARE = 224 / 256

# From this edge on ConvNeXt's processor squeezes instead of cropping.
SQUEEZED_EDGE = 384

# What LeViT's processor makes of a short edge.
LEVIT_EDGE = 256 / 224

# Keys of processors that do more to an image.
REFUSED = {
    "do_flip_channel_order": "it reads blue, green and red in place of red, green and blue",
    "do_pad": "it pads images",
}

# How transformers begins where it has no class for a processor.
WITHOUT_CLASS = "Unrecognized image processor"
# And where a class of its own cannot be imported.
NOT_IMPORTED = "Could not load any image processor"

# Pillow's number of bilinear, the processors' default.
BILINEAR = 2


def completed(config: Json, name: str) -> Json:
    """The configuration of the model `name` with what its class takes for granted.

    As it stands where it names no class and transformers has none for the architecture, and where
    the class needs torchvision, which is not installed: those are young, and write all of it.
    Raises ValueError for a class that transformers lacks, and for a configuration that its class
    refuses.
    """
    import transformers

    kind = kind_of(config)
    if not kind and file_of(name, CONFIG) is None:
        return config
    with reading(name), quiet():
        try:
            processor: Any = transformers.AutoImageProcessor.from_pretrained(
                locate(name), trust_remote_code=False
            )
        except ImportError:
            return config
        except ValueError as error:
            if str(error).startswith(NOT_IMPORTED):
                return config
            if not str(error).startswith(WITHOUT_CLASS):
                raise
            if not kind:
                return config
            raise ValueError(
                f"{MODEL}{name}`: preprocessor_config.json: transformers has no {kind}. Where the "
                "file's size, image_mean and image_std are all that it does, take that name out"
            ) from None
    found: Json = processor.to_dict()
    return found


def image_settings(config: Json) -> Json:
    """The settings of `preprocess.json`: height, width, channels, mean, std, resample.

    And where the centre is cropped, what the shorter side (`edge`) or the whole image (`squeeze`)
    is resized to before.

    Raises ValueError, naming the key, for a configuration that says too little.
    """
    for key, told in REFUSED.items():
        if config.get(key):
            raise ValueError(f"{key}: {told}, which this version does not do. Take another model")
    if kind_of(config).startswith("Perceiver"):
        raise ValueError(
            "Perceiver's processor crops the centre before it resizes, which this version does not "
            "do. Take another model"
        )
    size = sides(config, "size")
    settings = {**cropping(config, size), **scaling(config)}
    if config.get("do_resize") is False:
        raise ValueError(
            "do_resize is false, and a graph takes images of one size only. "
            "Write the size into preprocessor_config.json"
        )
    return settings


def cropping(config: Json, size: Json) -> Json:
    """How an image becomes a size: resample, height, width, and edge or squeeze where its centre is
    cropped.

    `size`: the configuration's, with named sides.
    """
    from PIL import Image

    number = config.get("resample")
    number = BILINEAR if number is None else number
    settings: Json = {"resample": Image.Resampling(number).name.lower()}
    is_cropped = config.get("do_center_crop")
    if "shortest_edge" not in size:
        crop = sides(config, "crop_size") if is_cropped else size
        if crop != size:
            settings["squeeze"] = [size["height"], size["width"]]
        return settings | {"height": crop["height"], "width": crop["width"]}
    edge = size["shortest_edge"]
    if kind_of(config).startswith("Levit"):
        edge = int(LEVIT_EDGE * edge)
    crop = sides(config, "crop_size") if is_cropped else {"height": edge, "width": edge}
    settings |= {"height": crop["height"], "width": crop["width"]}
    share = cropped_share(config)
    if share is None:
        return settings | {"edge": edge}
    if edge < SQUEEZED_EDGE:
        settings["edge"] = int(edge / share)
    return settings


def cropped_share(config: Json) -> float | None:
    """The share of the resized image's side that is cropped, for processors that say it so."""
    default = CONVNEXT_SHARE if kind_of(config).startswith("ConvNext") else None
    share: float | None = config.get("crop_pct", default)
    return share


def kind_of(config: Json) -> str:
    """The class that the configuration is of."""
    return str(config.get("image_processor_type", config.get("feature_extractor_type", "")))


def sides(config: Json, key: str) -> Json:
    """`size` or `crop_size` with named sides; one number stands for a square.

    Raises ValueError where it is missing or of another kind.
    """
    size = config.get(key)
    if isinstance(size, int):
        return {"height": size, "width": size}
    named = size if isinstance(size, dict) else {}
    if "shortest_edge" in named or {"height", "width"} <= named.keys():
        return named
    raise ValueError(
        f"`{key}` is {size!r}; expected a number, {{height, width}} or {{shortest_edge}}"
    )


def scaling(config: Json) -> Json:
    """channels, and the mean and std that stand for everything that is done to a value."""
    mean = config.get("image_mean")
    std = config.get("image_std")
    if not mean or not std:
        raise ValueError("`image_mean` and `image_std` are needed, a number for each channel")
    if len(mean) != len(std) or not all(std):
        raise ValueError(
            f"`image_std` is {std}: a number above 0 is needed for each of the {len(mean)} channels"
        )
    # The default of the processors: to [0, 1], as ours does.
    factor = config.get("rescale_factor", 1 / 255)
    if not config.get("do_rescale", True):
        factor = 1.0
    if not config.get("do_normalize", True):
        mean = [0.0] * len(mean)
        std = [1.0] * len(std)
    # EfficientNet's: values from -1 to 1 in place of 0 to 1.
    offset = 1.0 if config.get("rescale_offset") else 0.0
    second_std = config["image_std"] if config.get("include_top") else [1.0] * len(std)
    return {
        "channels": len(mean),
        "mean": [(value + offset) / (255 * factor) for value in mean],
        "std": [
            value * second / (255 * factor) for value, second in zip(std, second_std, strict=True)
        ],
    }
