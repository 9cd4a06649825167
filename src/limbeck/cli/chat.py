"""`limbeck chat`: talk to a model of texts in the terminal, turn by turn."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.answering import opened, tell
from limbeck.cli.generating import GenerateKeys, asked_by, to_terminal
from limbeck.cli.options import Runtime, Threads, artifact_of

if TYPE_CHECKING:
    from limbeck.artifact.generation.answering import Asked
    from limbeck.artifact.generation.text_model import TextModel

Message = dict[str, str]
# What a user types in place of a message, to begin anew.
NEW = "/new"
PROMPT = "> "

ChatArtifact = Annotated[
    Path,
    typer.Argument(metavar="ARTIFACT", help="The folder of an artifact, or of its run."),
]
System = Annotated[
    str | None,
    typer.Option("--system", help="What the model is told before the first message."),
]


def chat(
    artifact: ChatArtifact,
    system: System = None,
    threads: Threads = 1,
    runtime: Runtime = None,
    generate: GenerateKeys = None,
) -> None:
    """Talk to a model of texts: each line is a message, and the answers before it are remembered.

    /new begins another conversation, Ctrl-C stops an answer, and Ctrl-D leaves. Lines of a pipe are
    answered as well.
    """
    from limbeck.artifact.generation.text_model import text_model_of

    predictor = opened(artifact_of(artifact), runtime, threads, batch=1)
    writer = text_model_of(predictor, threads)
    if writer is None:
        raise ValueError(
            f"{artifact}: {predictor.task_name} answers with labels and numbers, and `chat` is for "
            "text-generation. Use `limbeck predict`"
        )
    if writer.template is None:
        raise ValueError(
            f"{artifact}: this model has no chat template: it continues texts, and knows no turns. "
            "Use `limbeck predict`"
        )
    talk = Talk(writer, asked_by(generate or (), writer.end_ids), system)
    for line in lines():
        if line == NEW:
            talk.turns.clear()
            continue
        # What is wrong with one message ends no conversation.
        try:
            talk.answer(line, to_terminal)
        except ValueError as error:
            tell(str(error))


@dataclass
class Talk:
    """A conversation with a model.

    - `system`: what stands before all turns.
    - `turns`: of user and assistant, one after the other.
    """

    writer: "TextModel"
    asked: "Asked"
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def answer(self, text: str, show: Callable[[str], None]) -> None:
        """Show the answer to a message as it grows, and remember both.

        Raises ValueError for a message that the model cannot be asked; nothing of it is remembered.
        """
        turns = [*self.turns, {"role": "user", "content": text}]
        prompt = self.prompt(turns)
        said = ""
        # What was said until then is the answer.
        with contextlib.suppress(KeyboardInterrupt):
            for piece in self.writer.answer(prompt, self.asked):
                show(piece.text)
                said += piece.text
        show("\n")
        self.turns = [*turns, {"role": "assistant", "content": said}]

    def prompt(self, turns: list[Message]) -> list[int]:
        """The ids of the last turns that leave room for an answer; the others are taken out of
        `turns`, which is told. Raises ValueError where the last message alone cannot be asked."""
        before = [] if self.system is None else [{"role": "system", "content": self.system}]
        most = self.writer.decoder.positions
        room = min(self.asked.max_tokens or most, most // 2)
        num_turns = len(turns)
        while True:
            try:
                prompt = self.writer.prompt_of_messages([*before, *turns])
            except ValueError:
                # The messages before were asked already: where these are refused together, they
                # are too long, or the last one is at fault, and is refused alone, too.
                if len(turns) == 1:
                    raise
            else:
                if len(prompt) + room <= most or len(turns) == 1:
                    break
            # A question and its answer.
            del turns[:2]
        if left_out := num_turns - len(turns):
            tell(
                f"the first {left_out} messages are forgotten: the model reads {most:,} tokens at "
                "once"
            )
        return prompt


def lines() -> Iterator[str]:
    """What is typed, or comes through a pipe; lines without a letter are passed over."""
    is_typed = sys.stdin.isatty()
    if is_typed:
        # Where Python has it: arrow keys, and the lines before.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
    with contextlib.suppress(EOFError):
        while True:
            line = input(PROMPT if is_typed else "").strip()
            if line:
                yield line
    if is_typed:
        # The shell's own prompt begins a line.
        to_terminal("\n")
