"""The text of the preprocessing that a model needs: tokenizer.json or preprocess.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.models import networks
from limbeck.models.create import is_network
from limbeck.models.published import timm_models
from limbeck.models.published.hub import file_of, locate, quiet, reading
from limbeck.models.published.positions import num_positions, trained_length
from limbeck.models.published.processors import completed, image_settings
from limbeck.models.published.tokenizers import padding_token, read_tokenizer
from limbeck.tasks.inputs.characters import character_tokenizer
from limbeck.tasks.inputs.dialogue import DialogueInput, dialogue_file
from limbeck.tasks.inputs.separate_texts import SeparateTextsInput
from limbeck.tasks.inputs.words import WordsInput

# Windows of a long text share a quarter of their length, so that what one cuts another reads whole.
OVERLAP = 4

# Where `transformers` looks for what a model wants of images; the second is that of models that
# read texts too.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
# The special tokens that a chat template may name.
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
EXAMPLE = '{"size": 224, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'


def preprocess(
    name: str,
    task_class: Any,
    rows: Sequence[Any],
    max_tokens: int,
    *,
    is_own: bool = False,
    long_texts: str = "cut",
) -> str:
    """The preprocessing of the model `name`: its tokenizer, or how it wants images.

    `rows`: the training rows, from which one of our networks takes the size and the moments of
    images. `max_tokens`: where texts are cut, or earlier where the tokenizer says so or the model
    has fewer positions; `is_own`: the tokenizer alone is the folder's, the model is the user's;
    `long_texts`: `cut`, or `windows`, which overlap by a quarter.

    Raises ValueError where it cannot be read, or where the model does not read what the task has.
    """
    if task_class.preprocess_file == "preprocess.json":
        if is_network(name):
            if networks.reads_texts(name):
                raise ValueError(f"model `{name}`: this network of ours reads texts, not images")
            return task_class.input_type.fit_preprocess(rows)
        return json.dumps(image_processor(name))
    share = 1 / OVERLAP if long_texts == "windows" else 0
    if is_network(name):
        if not networks.reads_texts(name):
            raise ValueError(
                f"model `{name}`: this network of ours reads images. Texts need `model: ngrams`, "
                "or a `transformers` model by folder or hub id"
            )
        # Its answers are of a row, and such a task compares vectors of each of a row's texts.
        if issubclass(task_class.input_type, SeparateTextsInput):
            raise ValueError(
                f"model `{name}`: this network of ours answers with labels, and the task compares "
                "vectors of texts. Take an encoder: a `transformers` or `sentence-transformers` "
                "model by folder or hub id"
            )
        # Of names, capital letters say much; of a text's topic or mood, little.
        keeps_case = issubclass(task_class.input_type, WordsInput)
        return character_tokenizer(
            rows, max_tokens, keeps_case=keeps_case, windows=int(share * max_tokens)
        )
    tokenizer = read_tokenizer(name)
    if task_class.preprocess_file == DialogueInput.preprocess_file:
        return dialogue(name, tokenizer, max_tokens)
    # The artifact runs on `tokenizers` alone, so all that is asked of it is written into its file.
    backend = tokenizer.backend_tokenizer
    length = min(max_tokens, tokenizer.model_max_length)
    positions = None if is_own else num_positions(name)
    if positions is not None:
        length = min(length, positions)
    # Dialogues, of which the end counts, come with tokenizers that cut from the left.
    stride = int(share * length)
    backend.enable_truncation(length, stride=stride, direction=tokenizer.truncation_side)
    # To the longest of a batch, whatever the published file says: a fixed length wastes work.
    pad_id, pad_token = padding_token(tokenizer)
    backend.enable_padding(pad_id=pad_id, pad_token=pad_token)
    return backend.to_str()


def dialogue(name: str, tokenizer: Any, max_tokens: int) -> str:
    """The text of `dialogue.json` of a causal language model: its tokenizer, its chat template
    where it has one, and which tokens end an answer. Raises ValueError."""
    # Rotary positions have no end, but nobody has trained the model beyond this.
    lengths = (max_tokens, tokenizer.model_max_length, num_positions(name), trained_length(name))
    template = tokenizer.chat_template
    # Some have several by name, one of them for calling tools.
    if isinstance(template, dict):
        template = template.get("default")
    special = {key: value for key, value in tokenizer.special_tokens_map.items() if key in NAMED}
    return dialogue_file(
        tokenizer.backend_tokenizer.to_str(),
        chat_template=template,
        special_tokens=special,
        end_ids=end_tokens(name, tokenizer.eos_token_id),
        pad_id=padding_token(tokenizer)[0],
        max_tokens=min(length for length in lengths if length is not None),
    )


def end_tokens(name: str, of_tokenizer: int | None) -> list[int]:
    """The tokens after which a model says no more: its generation config has the last word, for
    chat models end a turn by another token than a text."""
    path = file_of(name, "generation_config.json")
    found = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    ends = found.get("eos_token_id", of_tokenizer)
    ends = ends if isinstance(ends, list) else [ends]
    return sorted({int(each) for each in (*ends, of_tokenizer) if each is not None})


def image_processor(name: str) -> dict[str, Any]:
    """The settings of `preprocess.json` for a pretrained image model.

    Raises ValueError where the model has none that we can follow.
    """
    if name.startswith(timm_models.PREFIX):
        return timm_models.settings(name)
    # Its settings as data; the class behind them may need torchvision.
    from transformers.image_processing_base import ImageProcessingMixin

    with reading(name), quiet():
        try:
            config, _ = ImageProcessingMixin.get_image_processor_dict(locate(name))
        except OSError:
            if any(file_of(name, file) for file in PROCESSOR_FILES):
                raise
            raise ValueError(
                f"model `{name}`: no {PROCESSOR_FILES[0]} beside its config.json. It says which "
                "size, mean and deviation the model's images have, which config.json does not. "
                "Copy it from where the model comes from, or write one as the model was trained: "
                + EXAMPLE
            ) from None
    config = completed(config, name)
    try:
        return image_settings(config)
    except ValueError as error:
        raise ValueError(f"model `{name}`: preprocessor_config.json: {error}") from None
