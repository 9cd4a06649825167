"""What `predict` does with a model that writes text: an answer for every row, shown as it grows."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from limbeck.artifact.generation.answering import Asked, Piece
    from limbeck.artifact.generation.text_model import TextModel
    from limbeck.artifact.rows.inputs import Item

GenerateKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--generate",
        metavar="KEY=VALUE",
        help="How a model of texts answers; as often as there are keys: max_tokens (256), "
        "temperature (0), top_p, top_k, repetition_penalty, seed, stop.",
    ),
]
# Control characters but for tabs and ends of lines.
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def asked_by(keys: Sequence[str], end_ids: tuple[int, ...]) -> "Asked":
    """What the options ask for. Raises ValueError for a key or a value that is none.

    >>> asked_by(["temperature=0.5", "stop=User:", "stop=###"], ()).stop
    ('User:', '###')
    """
    from limbeck.artifact.generation.answering import Asked
    from limbeck.artifact.generation.sampling import Sampling
    from limbeck.artifact.generation.text_model import USUAL_TOKENS
    from limbeck.core.wording import suggest

    # Their defaults say what each key is: a number, or a whole one.
    kinds = {each.name: type(each.default) for each in fields(Sampling)}
    values: dict[str, Any] = {}
    most = USUAL_TOKENS
    stop: list[str] = []
    for option in keys:
        name, mark, text = option.partition("=")
        # A word may hold any mark, `=` too, and there may be several.
        if name == "stop" and mark:
            stop.append(text)
        elif name == "max_tokens" and mark:
            most = number_of(option, int)
        elif name in kinds and mark:
            values[name] = number_of(option, kinds[name])
        else:
            hint = suggest(name, [*kinds, "max_tokens", "stop"])
            raise ValueError(f"--generate {option}: KEY=VALUE is expected. {hint}")
    return Asked(Sampling(**values), most, end_ids, tuple(stop))


def number_of(option: str, kind: type) -> Any:
    """The number of KEY=VALUE. Raises ValueError where it is none."""
    try:
        return kind(option.partition("=")[2])
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"--generate {option}: {what} is expected") from None


def generated_lines(
    writer: "TextModel", items: "Iterable[Item]", asked: "Asked", show: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """An answer line for every row, each piece of which is shown as it comes."""
    from limbeck.artifact.answers import line_of, names_taken
    from limbeck.artifact.generation.text_model import ANSWER_KEYS

    taken = names_taken(list(ANSWER_KEYS))
    for item in items:
        answer: dict[str, Any] = {"error": item.problem}
        if not item.problem:
            # What is wrong with one row is told in its line.
            try:
                answer = shown(writer.answer(writer.prompt_of(item.raw), asked), show)
            except ValueError as error:
                answer = {"error": str(error)}
        yield line_of(item, answer, taken)


def shown(pieces: "Iterator[Piece]", show: Callable[[str], None]) -> dict[str, Any]:
    """The whole answer, once all of its pieces were shown."""
    text, finish, num_tokens = "", None, 0
    for piece in pieces:
        if piece.text:
            show(piece.text)
        text += piece.text
        finish = piece.finish
        num_tokens += piece.token is not None
    # The next answer begins a line of its own.
    show("\n")
    return {"text": text, "finish": finish, "num_tokens": num_tokens}


def is_watched() -> bool:
    """Whether somebody reads along: then an answer is shown as it grows, and not as a line."""
    return sys.stdout.isatty()


def to_terminal(text: str) -> None:
    """Show a piece at once."""
    # A model may write what steers a terminal.
    sys.stdout.write(UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text))
    # Terminals keep a line back until it ends.
    sys.stdout.flush()


def to_nowhere(text: str) -> None:
    """Show nothing: the answer comes as a line."""
