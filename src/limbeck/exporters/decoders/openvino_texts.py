"""The tokenizer of a model as two models of OpenVINO, which need neither Python nor tokenizers.

They are made by openvino_tokenizers from the files of transformers, which knows most tokenizers and
not all of their settings. So they are asked for some texts of many kinds, and refused where the
tokens, or the text of these, are others than the trained model's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.exporters.decoders.openvino_model import write as write_model
from limbeck.tasks.inputs.long_texts import encoded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "openvino_tokenizer.xml"
DETOKENIZER_FILE = "openvino_detokenizer.xml"

# Blanks, digits, contractions, code, marks, other scripts and signs: where tokenizers differ.
PROBES = (
    "The agent says hello, and asks for order number 12345.",
    "It's late; THEY'LL call back at 10:30, won't they?  Yes.",
    "  two blanks before,\ttabs\t\tand\n\nlines \n behind ",
    "def f(x_1):\n    return x_1**2 != 3.14e-10  # CamelCase",
    "na\u00efve caf\u00e9, stra\u00dfe, e\u0301, \u4f60\u597d\uff0c\u4e16\u754c, "
    "\u043f\u0440\u0438\u0432\u0435\u0442, \u0645\u0631\u062d\u0628\u0627",
    "\u00bd of it costs \u20ac3 \U0001f600\U0001f44d\U0001f3fd!",
)


def write(folder: Path, tokenizer: "Tokenizer") -> None:
    """Write both models beside the files of transformers in `folder`.

    tokenizer: the trained model's. Raises ValueError where they read or write texts otherwise.
    """
    import openvino_tokenizers
    from openvino.exceptions import OVTypeError
    from transformers import AutoTokenizer

    of_folder = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    unknown = (OVTypeError, ValueError, NotImplementedError)
    try:
        # A template writes a beginning itself, where the model was trained with one.
        made = openvino_tokenizers.convert_tokenizer(
            of_folder, with_detokenizer=True, add_special_tokens=False
        )
    except unknown as error:
        raise other_texts(f"openvino_tokenizers does not know this tokenizer: {error}") from None
    for model, file in zip(made, (TOKENIZER_FILE, DETOKENIZER_FILE), strict=True):
        write_model(model, folder / file)
    check_texts(folder, tokenizer)


def check_texts(folder: Path, tokenizer: "Tokenizer") -> None:
    """Raise ValueError where the models in a folder read or write a text otherwise."""
    import openvino

    core = openvino.Core()
    encode = core.compile_model(folder / TOKENIZER_FILE, "CPU")
    decode = core.compile_model(folder / DETOKENIZER_FILE, "CPU")
    special = "".join(sorted(token.content for token in added_tokens(tokenizer)))
    for text in (*PROBES, f"{special} {PROBES[0]}"):
        expected = encoded(text, tokenizer).ids
        ids = encode([text])["input_ids"]
        if ids[0].tolist() != expected:
            raise other_texts(f"{text!r} has the tokens {ids[0].tolist()} there, not {expected}")
        said = decode(ids)[0][0]
        if said != tokenizer.decode(expected):
            raise other_texts(f"the tokens {expected} are the text {said!r} there")


def added_tokens(tokenizer: "Tokenizer") -> list[Any]:
    """Tokens that texts can name, special ones among them."""
    return list(tokenizer.get_added_tokens_decoder().values())


def other_texts(reason: str) -> ValueError:
    """The refusal of a tokenizer."""
    return ValueError(
        f"OpenVINO GenAI would read or write texts otherwise than the model was trained to: "
        f"{reason}. Leave `openvino_genai` out of `export`"
    )
