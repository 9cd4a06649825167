"""The chat template of a tokenizer: messages to the text that a model was trained on, and which
parts of that text are answers.

A template is a small program in Jinja that stands in a model's folder. It is written by strangers,
so that it runs in Jinja's sandbox and may neither loop nor grow without bound. What it may call and
how blanks are treated is as in transformers' `apply_chat_template`: the same text comes out.

Where a template marks its answers with `{% generation %}` these marks are taken. Most do not: then
the conversation is rendered up to each answer and through it, and the difference is the answer with
the token that ends it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from limbeck.core.wording import json_kind
from limbeck.tasks.chat.sandbox import Program, Span

# The longest known template, with tools in it, has some 20,000 characters.
MOST_TEMPLATE_CHARACTERS = 200_000
ASSISTANT = "assistant"
SYSTEM = "system"
DEVELOPER = "developer"

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the spans of its answers in order."""

    text: str
    answers: tuple[Span, ...]


class MessageTemplate:
    """A template that renders conversations.

    Args:
        text: the template, as `chat_template.jinja` or `tokenizer_config.json` has it.
        special_tokens: what it may name: `bos_token`, `eos_token` and others, by their names there.
        today: what `strftime_now` tells the template; None: the time of the rendering. Training and
            evaluation give one, so that the same rows are the same text tomorrow.

    Raises ValueError for a text that is no template.

    >>> turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    >>> MessageTemplate(turns).render([{"role": "user", "content": "Hi"}])
    '<user>Hi'
    """

    def __init__(
        self,
        text: str,
        special_tokens: Mapping[str, str] | None = None,
        today: datetime | None = None,
    ) -> None:
        if len(text) > MOST_TEMPLATE_CHARACTERS:
            raise ValueError(
                f"the chat template has {len(text):,} characters, and at most "
                f"{MOST_TEMPLATE_CHARACTERS:,} are read"
            )
        self.text = text
        self.special_tokens = dict(special_tokens or {})
        # Where it is wrong that is told now, and not at the first row.
        self.program = Program(text, today)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Any] | None = None,
    ) -> str:
        """The text of a conversation.

        Args:
            messages: each with `role` and `content`, and whatever else the template reads.
            add_generation_prompt: end with what stands before an answer.
            tools: their JSON schemas, for templates that know tools.

        Raises ValueError for messages that are none, for those that the template refuses (most
        refuse unknown roles, and some two turns of one role), and where it takes too long.
        """
        return self._rendered(self._listed(messages), add_generation_prompt, tools).text

    def render_answers(self, messages: Sequence[Message]) -> Rendered:
        """The text of a conversation and where the assistant's answers stand in it, each with the
        token that ends it.

        Raises ValueError as `render`, and where the template writes a turn so differently once
        others follow that its answer cannot be found.
        """
        # 1. The whole text, with the spans that the template may mark.
        listed = self._listed(messages)
        rendered = self._rendered(listed)
        if self.program.marks_answers:
            return rendered
        # 2. Else each answer by what it adds to the text.
        spans = []
        start = 0
        for i, message in enumerate(listed):
            if message["role"] == ASSISTANT:
                spans.append(self._answer(rendered.text, listed[: i + 1], start))
                start = spans[-1][1]
        return Rendered(rendered.text, tuple(spans))

    def _listed(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """As `checked`; `developer`, OpenAI's later name of `system`, by the older one where the
        template has never heard of the other."""
        listed = checked(messages)
        if DEVELOPER in self.text:
            return listed
        return [each | {"role": SYSTEM} if each["role"] == DEVELOPER else each for each in listed]

    def _answer(self, text: str, messages: list[dict[str, Any]], start: int) -> Span:
        """The span in `text` of the answer that is the last of `messages`, from `start` on."""
        content = _words(messages[-1]).strip()
        through = self._rendered(messages).text
        # 1. It begins where the prompt for it ends.
        begin = self._prompt_length(text, messages[:-1], start)
        if begin is None:
            begin = text.find(content, start)
        # 2. It ends where the conversation ended then. Some templates write the last turn alone
        # with its reasoning: then what followed the content tells the end.
        if text.startswith(through):
            end = len(through)
        else:
            at = through.rfind(content)
            tail = through[at + len(content) :]
            found = text.find(content + tail, max(begin, 0)) if at >= 0 else -1
            end = found + len(content + tail) if found >= 0 else -1
        if not 0 <= begin <= end:
            raise ValueError(
                f"message {len(messages)}: the chat template writes this answer differently once "
                "others follow, so that it cannot be found in the text. Put {% generation %} and "
                "{% endgeneration %} around answers in the template"
            )
        # 3. Without the blanks after the token that ends it: the model has stopped by then.
        after_content = text.find(content, begin, end) + len(content)
        bare_end = begin + len(text[begin:end].rstrip())
        return begin, bare_end if bare_end > after_content else end

    def _prompt_length(self, text: str, messages: list[dict[str, Any]], start: int) -> int | None:
        """The length of `messages` with the prompt for an answer; None where the text begins
        otherwise, or where the template does not render these messages alone."""
        try:
            prompt = self._rendered(messages, True).text
        except ValueError:
            # An answer that stands first: many templates ask for the first message.
            return None
        is_start = text.startswith(prompt) and len(prompt) >= start
        return len(prompt) if is_start else None

    def _rendered(
        self,
        messages: list[dict[str, Any]],
        add_generation_prompt: bool = False,
        tools: Sequence[Any] | None = None,
    ) -> Rendered:
        """A conversation, with the spans that the template marks."""
        view = self.special_tokens | {
            "messages": messages,
            "tools": _plain(tools),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return Rendered(*self.program.run(view))


def checked(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as plain data, without keys whose value is none, as OpenAI's client sends them.

    Raises ValueError for what is no list of messages, naming the place.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise ValueError(f"messages: a list is needed, not {json_kind(messages)}")
    if not messages:
        raise ValueError("messages: a conversation needs at least one message")
    found = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise ValueError(
                f"message {number}: an object with `role` and `content` is needed, "
                f"not {json_kind(message)}"
            )
        plain = {key: _plain(value) for key, value in message.items() if value is not None}
        if not isinstance(plain.get("role"), str):
            raise ValueError(f"message {number}: `role` is needed, such as user or assistant")
        found.append(plain)
    return found


def _words(message: Message) -> str:
    """The text of a message: its content, or the texts among its parts."""
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))


def _plain(value: Any) -> Any:
    """A copy of JSON's own types alone, so that a template holds no object with methods of ours."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise ValueError(f"messages: JSON's own types are needed, not {type(value).__name__}")
