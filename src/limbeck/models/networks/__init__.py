"""Small networks of our own, one a file, by name: of images, or of texts."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import nn

from limbeck.core import registry
from limbeck.core.contract import offers, wrong_return
from limbeck.tasks.inputs.tokenized import TokenizedInput
from limbeck.tasks.inputs.words import WordsInput


class Network(Protocol):
    """One file, one network; its constructor's arguments are its recipe keys."""

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """A torch module with new weights, drawn from torch's global generator.

        Its input is called `pixel_values` (B, C, H, W), and its output is logits (B, V). It takes
        images of any height and width, for it is not told them: those of the data, or of
        `data.size` (a pooling over all pixels, such as `AdaptiveAvgPool2d(1)`, before the last
        layer; the tests give it 8 x 8, 9 x 9 and 28 x 28). It answers each row by itself. Its
        `blocks` are its layers, which losses on hidden maps and surgeries find by that name.
        """
        ...


@dataclass(frozen=True)
class TextShape:
    """`vocabulary`: how many tokens there are. `answers_words`: whether logits are wanted at each
    token, for its word, and not once for a text."""

    vocabulary: int
    answers_words: bool


class TextNetwork(Protocol):
    """The same for a network that reads texts.

    Its tokens are the characters of the training rows (`tasks.inputs.characters`).
    """

    def build_for_texts(self, num_labels: int, texts: TextShape) -> nn.Module:
        """A torch module with new weights, drawn from torch's global generator.

        Its inputs are called `input_ids` and `attention_mask`, both (B, T), any T; its output is
        logits (B, V) of texts, or (B, T, V) where words are answered, of which the first token of
        each word is read. Padding must change nothing. `blocks` are as in `Network`.
        """
        ...


def reads_texts(name: str) -> bool:
    """Whether a network reads texts, and not images. Raises ValueError where it does not load."""
    return offers(registry.load("networks", name), TextNetwork)


def inputs_of(task: Any) -> dict[str, Any]:
    """What a network must know of a task's inputs, ready for JSON: `build`'s last argument."""
    if not issubclass(task.input_type, TokenizedInput):
        return {"channels": task.input.settings["channels"]}
    by_word = issubclass(task.input_type, WordsInput)
    return asdict(TextShape(task.input.tokenizer.get_vocab_size(), by_word))


def build(name: str, options: dict[str, Any], num_labels: int, inputs: dict[str, Any]) -> nn.Module:
    """A network by its name and its recipe keys; `inputs`: as `inputs_of` gives them.

    Raises ValueError where it gives no module.
    """
    network: Any = registry.create("networks", name, options)
    if "channels" in inputs:
        model = network.build(num_labels, inputs["channels"])
    else:
        model = network.build_for_texts(num_labels, TextShape(**inputs))
    if not isinstance(model, nn.Module):
        told = f"the network `{name}`"
        called = network.build if "channels" in inputs else network.build_for_texts
        raise wrong_return(told, called.__name__, model, "a torch module", called)
    return model
