"""From the inputs of a request to rows as `Predictor.predict` takes them, or to the tensors
of its graph.

No text of a request is ever taken for a path: images are bytes, or base64 in JSON.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from limbeck.core.wording import suggest
from limbeck.server.requests.base64_text import bytes_of
from limbeck.server.requests.byte_order_mark import without_mark
from limbeck.server.v2.errors import InvalidRequest, shown, too_large
from limbeck.server.v2.interface import ANY, TENSORS, InputSet, Interface, TensorSpec, Tokens
from limbeck.server.v2.request import InferRequest
from limbeck.server.v2.tensors import BYTES, Tensor
from limbeck.sources import Row

Inputs = Mapping[str, Tensor]

# Of all images of a request, unpacked: 128 MB. A picture of one colour packs 16 million pixels into
# 64 kB, and a body holds many.
MOST_PIXEL_BYTES = 1 << 27


def input_set_of(request: InferRequest, interface: Interface) -> InputSet:
    """The set of inputs that a request sends, each of which is as it should be.

    Raises InvalidRequest for one that is missing, unknown, of another datatype or shape.
    """
    if request.raw is not None:
        usual = interface.input_sets[0]
        if len(usual.required) > 1:
            raise InvalidRequest(f"inputs: this model needs {usual}, which are no one body")
        return usual
    names = set(request.inputs)
    # 1. The set that these are, with nothing missing and nothing besides.
    for input_set in interface.input_sets:
        if input_set.fits(names):
            for spec in input_set.specs:
                if spec.name in names:
                    check_tensor(request.inputs[spec.name], spec)
            check_rows(request.inputs)
            return input_set
    # 2. Or why they are none: a slip in a name is more likely than a wrong choice.
    known = [spec.name for input_set in interface.input_sets for spec in input_set.specs]
    for name in request.inputs:
        if name not in known:
            raise InvalidRequest(f"inputs: there is no {shown(name)}. {suggest(name[:80], known)}")
    sets = "; or ".join(map(str, interface.input_sets))
    raise InvalidRequest(f"inputs: {', '.join(request.inputs)} is no whole set. Send {sets}")


def check_tensor(tensor: Tensor, spec: TensorSpec) -> None:
    """Raise InvalidRequest for a tensor of another datatype or shape than its input's."""
    if tensor.datatype != spec.datatype:
        raise InvalidRequest(
            f"{spec.name}: datatype {spec.datatype} is expected, not {tensor.datatype}"
        )
    expected = spec.shape
    shape = tensor.shape
    if spec.datatype == BYTES and len(expected) == 1 and shape[1:] == (1,):
        # Clients of servers that batch write an element a row.
        shape = shape[:1]
    if spec.name == "pixels" and len(shape) == 3:
        # Grey images have no axis of channels.
        expected = expected[:3]
    fits = len(shape) == len(expected) and all(
        size in (ANY, given) for size, given in zip(expected, shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            f"{spec.name}: shape {list(expected)} is expected (-1: any), not {list(tensor.shape)}"
        )


def check_rows(inputs: Inputs) -> None:
    """Raise InvalidRequest for inputs of different numbers of rows."""
    sizes = {name: tensor.shape[0] for name, tensor in inputs.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise InvalidRequest(f"inputs: their first dimensions differ: {told} rows")


def rows_of(request: InferRequest, interface: Interface) -> Iterator[Row]:
    """The rows that a request asks about, without labels, each made when it is its turn.

    Raises InvalidRequest for inputs that are no whole set of rows, and for a row that is none.
    """
    input_set = input_set_of(request, interface)
    if request.raw is not None:
        raws = [RAW[input_set.kind](request.raw)]
    else:
        raws = READERS[input_set.kind](request.inputs)
    pixel_bytes = 0
    for place, raw in enumerate(raws):
        try:
            row = interface.predictor.row(raw)
        except ValueError as error:
            raise InvalidRequest(f"row {place}: {error}") from None
        check_length(row, place, request.text_characters)
        # Images are bounded together: a body holds many that are small as files.
        pixel_bytes += row["image"].nbytes if "image" in row else 0
        if pixel_bytes > MOST_PIXEL_BYTES:
            raise too_large(
                f"row {place}: the images have more than {MOST_PIXEL_BYTES >> 20} MB of pixels. "
                "Send fewer at once, or smaller ones: the model resizes them"
            )
        yield row


def check_length(row: Row, place: int, most: int) -> None:
    """Raise InvalidRequest for a row with a longer text, or a longer sentence, than is read."""
    sentence = " ".join(row.get("words", ()))
    for text in (row.get("text", ""), row.get("text_b", ""), sentence):
        if len(text) > most:
            raise too_large(
                f"row {place}: a text of {len(text):,} characters: at most {most:,} are read"
            )


def tensors_of(request: InferRequest, interface: Interface) -> dict[str, np.ndarray] | None:
    """The graph's inputs (N, ...) by name, where a request sends these; else None.

    Raises InvalidRequest for numbers that no model reads.
    """
    if input_set_of(request, interface).kind != TENSORS:
        return None
    arrays = {name: tensor.values for name, tensor in request.inputs.items()}
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InvalidRequest(f"{name}: a number of it is not finite")
    if interface.tokens is not None:
        check_tokens(arrays["input_ids"], arrays["attention_mask"], interface.tokens)
    return arrays


def check_tokens(ids: np.ndarray, mask: np.ndarray, tokens: Tokens) -> None:
    """Raise InvalidRequest for token ids (N, T) and a mask of them that the model cannot read."""
    if mask.shape != ids.shape:
        raise InvalidRequest(
            f"attention_mask: shape {list(mask.shape)}, and input_ids has {list(ids.shape)}"
        )
    if ids.shape[1] > tokens.most:
        raise InvalidRequest(
            f"input_ids: {ids.shape[1]:,} tokens a row: the model reads at most {tokens.most:,}"
        )
    # Not every runtime refuses an id that the model has no vector for.
    if ids.min() < 0 or ids.max() >= tokens.num_ids:
        raise InvalidRequest(f"input_ids: a token is 0 to {tokens.num_ids - 1:,}")
    # Of a row without a token nothing is computed but NaN.
    if mask.min() < 0 or mask.max() > 1 or not mask.any(1).all():
        raise InvalidRequest("attention_mask: 1 for a token, 0 for padding, and a 1 in every row")


def texts_of(tensor: Tensor) -> list[str]:
    """The elements of a BYTES tensor as texts. Raises InvalidRequest for what is not UTF-8."""
    return [_text(value, f"{tensor.name}[{place}]") for place, value in enumerate(tensor.values)]


def _text(value: str | bytes, where: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{where}: not UTF-8: {error.reason} at byte {error.start:,}"
        ) from None


def read_texts(inputs: Inputs) -> list[Any]:
    """Texts, or pairs of texts as dicts."""
    texts = texts_of(inputs["text"])
    # Not a tuple, which a task that tags takes for words.
    if "text_b" not in inputs:
        return texts
    pairs = zip(texts, texts_of(inputs["text_b"]), strict=True)
    return [{"text": text, "text_b": other} for text, other in pairs]


def read_words(inputs: Inputs) -> list[Any]:
    """Sentences as tuples of words: of (N, W) words without the empty ones at each row's end, which
    fill it up."""
    tensor = inputs["words"]
    words = texts_of(tensor)
    width = tensor.shape[1]
    sentences = []
    for start in range(0, len(words), width):
        sentence = words[start : start + width]
        # One before another word is none that fills, and the task refuses it.
        while sentence and not sentence[-1]:
            sentence.pop()
        sentences.append(tuple(sentence))
    return sentences


def read_images(inputs: Inputs) -> list[Any]:
    """Encoded images: bytes as they came, or from base64."""
    # Binary elements are bytes and those of JSON are texts: which form it is, is not guessed.
    tensor = inputs["image"]
    return [_image(value, f"image[{place}]") for place, value in enumerate(tensor.values)]


def _image(value: str | bytes, where: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return bytes_of(value)
    except ValueError as error:
        raise InvalidRequest(
            f"{where}: {error}. As they are, the bytes of an image go into a binary tensor"
        ) from None


def read_pixels(inputs: Inputs) -> list[Any]:
    """Images as arrays (H, W) or (H, W, C) of uint8."""
    return list(inputs["pixels"].values)


def read_rows(inputs: Inputs) -> list[Any]:
    """Rows of a task of somebody else: an object of JSON each."""
    return [_object(text, f"row[{n}]") for n, text in enumerate(texts_of(inputs["row"]))]


def _object(text: str, where: str) -> Any:
    import orjson

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{where}: no JSON: {error}") from None
    # Never a text alone, which a task may take for the path of a file.
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: an object of JSON is expected: the keys of a row")
    return value


# By the kind of the set.
READERS: Mapping[str, Callable[[Inputs], list[Any]]] = {
    "text": read_texts,
    "words": read_words,
    "image": read_images,
    "pixels": read_pixels,
    "row": read_rows,
}
# What the one input of a request without JSON is.
RAW: Mapping[str, Callable[[bytes], Any]] = {
    "text": lambda content: _text(without_mark(content), "the body"),
    "image": bytes,
    "row": lambda content: _object(_text(without_mark(content), "the body"), "the body"),
}
