"""A `transformers` image processor (preprocessor_config.json) as the settings of our own `preprocess.json`, so that an artifact needs neither.

    pixel = ((value * factor - offset) - mean) / std        after resizing, and cropping the centre

With value / 255 in its place, mean and std absorb factor and offset. A short edge with `crop_pct` p (ResNet, ConvNeXt) is resized to edge / p and the
centre is cropped, from 384 pixels on the image is squeezed instead; EfficientNet with `include_top` divides by std twice.
"""

from typing import Any

Json = dict[str, Any]


def image_settings(config: Json) -> Json:
    """height, width, channels, mean, std, resample, and `edge` (what the shorter side is resized to before the centre is cropped) where there is one.

    Raises ValueError for a configuration that says too little, naming the key.
    """
    size = sides(config, "size")
    found = {**cropping(config, size), **scaling(config)}
    if config.get("do_resize") is False:
        raise ValueError(
            "do_resize is false, and a graph takes images of one size only. Write the size into preprocessor_config.json"
        )
    return found


def cropping(config: Json, size: Json) -> Json:
    """What is left of an image: height, width, and edge."""
    from PIL import Image

    found: Json = {"resample": Image.Resampling(config.get("resample", 2)).name.lower()}
    if "shortest_edge" not in size:
        if config.get("do_center_crop"):
            raise ValueError(
                "do_center_crop after a resize to height and width is not supported; give the size as {shortest_edge: N}"
            )
        return found | {"height": size["height"], "width": size["width"]}
    edge = size["shortest_edge"]
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    part = config.get("crop_pct", 224 / 256 if kind.startswith("ConvNext") else None)
    if part is not None:
        square = {"height": edge, "width": edge}
        return found | square | ({"edge": int(edge / part)} if edge < 384 else {})
    crop = (
        sides(config, "crop_size")
        if config.get("do_center_crop")
        else {"height": edge, "width": edge}
    )
    return found | {"height": crop["height"], "width": crop["width"], "edge": edge}


def sides(config: Json, key: str) -> Json:
    """`size` or `crop_size` with named sides: one number is a square. Raises ValueError where it is missing or of another kind."""
    size = config.get(key)
    named = {"height": size, "width": size} if isinstance(size, int) else size
    if not isinstance(named, dict) or not (
        {"height", "width"} <= named.keys() or "shortest_edge" in named
    ):
        raise ValueError(
            f"`{key}` is {size!r}; expected a number, {{height, width}} or {{shortest_edge}}"
        )
    return named


def scaling(config: Json) -> Json:
    """channels, and the mean and std that stand for everything done to a value."""
    mean, std = config.get("image_mean"), config.get("image_std")
    if not mean or not std:
        raise ValueError("`image_mean` and `image_std` are needed, a number for each channel")
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    offset = 1.0 if config.get("rescale_offset") else 0.0
    again = config["image_std"] if config.get("include_top") else [1.0] * len(std)
    return {
        "channels": len(mean),
        "mean": [(value + offset) / (255 * factor) for value in mean],
        "std": [one * other / (255 * factor) for one, other in zip(std, again, strict=True)],
    }
