"""What a body of `/v1/chat/completions` or `/v1/completions` asks for.

Keys and defaults are OpenAI's; `top_k` and `repetition_penalty` are called as other servers of open
models call them. A key that would change the answer and is not known is refused by its name.
"""

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.sampling import Sampling
from limbeck.artifact.generation.text_model import TextModel
from limbeck.core.wording import suggest
from limbeck.server.requests.refusals import Refused, bad_request

# OpenAI's is 4.
MOST_STOP_WORDS = 16
# Of /v1/completions, where no other number is asked for.
USUAL_TOKENS = 16
# Kinds of numbers. Bounds that OpenAI's client checks itself are the same here.
Count = Annotated[int, Field(ge=1)]
Tokens = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Share = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(gt=0, le=10)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Words = Annotated[list[str], Field(max_length=MOST_STOP_WORDS)]


class Part(BaseModel):
    """A part of a body: a key that it does not know is a mistake."""

    # An ignored key would be another answer than was asked for.
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(Part):
    """Of an answer that is streamed: whether its last piece tells how many tokens there were."""

    include_usage: bool = False


class NamedSchema(Part):
    """A JSON schema, as OpenAI's clients send one; `strict` it is always."""

    name: str = ""
    description: str | None = None
    strict: bool | None = None
    # Pydantic's models have a method of this name.
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Part):
    """What an answer is: text, any object of JSON, or one that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class Body(Part):
    """What both addresses take. A type of one value: what may be sent, and changes nothing."""

    # Left out where the server has one model.
    model: str | None = None
    # 1. How long the answer is, and how its tokens are drawn.
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Tokens | None = None
    repetition_penalty: Penalty | None = None
    seed: Seed | None = None
    # 2. Where it ends, and what form it has.
    stop: str | Words | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    # 3. What is sent by habit, and would mean more with another value.
    n: Literal[1] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    # 4. Who is asking is of no use here, and nothing is stored.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None

    def sampling(self) -> Sampling:
        """How tokens are chosen; without a seed each answer has one of its own."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            repetition_penalty=self.repetition_penalty or 1.0,
            seed=secrets.randbits(63) if self.seed is None else self.seed,
        )

    def stop_words(self) -> tuple[str, ...]:
        """The words that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def schema_of_answer(self) -> dict[str, Any] | None:
        """What the answer follows; None for text. Raises ValueError where a schema is missing."""
        form = self.response_format
        if form is None or form.type == "text":
            return None
        # Any keys and values.
        if form.type == "json_object":
            return {"type": "object"}
        if form.json_schema is None:
            raise ValueError("response_format: `json_schema` with a `schema` is needed beside type")
        return form.json_schema.schema_

    def asked(self, writer: TextModel, most: int | None) -> Asked:
        """What is asked of a model, of at most `most` tokens. Raises ValueError."""
        schema = self.schema_of_answer()
        return Asked(
            sampling=self.sampling(),
            max_tokens=most,
            end_ids=writer.end_ids,
            stop=self.stop_words(),
            schema=None if schema is None else writer.schema(schema),
        )


class ChatBody(Body):
    """Of /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: Literal[False] | None = None

    def prompt(self, writer: TextModel) -> list[int]:
        """The ids of the conversation. Raises ValueError."""
        return writer.prompt_of_messages(self.messages)

    def most_tokens(self) -> int | None:
        """Tokens of the answer; None for as many as the model has room for."""
        # The newer name counts where a client sends both.
        return self.max_completion_tokens or self.max_tokens


class TextBody(Body):
    """Of /v1/completions; a prompt is a text, a list of one, or token ids."""

    # Otherwise a field would stand where a method is.
    prompt_: str | list[str] | list[int] = Field(alias="prompt")
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

    def prompt(self, writer: TextModel) -> list[int]:
        """The ids of the text. Raises ValueError for several texts, and for ids that are none."""
        given = self.prompt_
        if isinstance(given, str):
            return writer.prompt_of_text(given)
        if len(given) == 1 and isinstance(given[0], str):
            return writer.prompt_of_text(given[0])
        # Several texts would be several answers, and ids are none of texts.
        ids = [each for each in given if isinstance(each, int)]
        if len(ids) < len(given) or not given:
            raise ValueError(f"prompt: one text, or token ids, not {len(given)} texts")
        num_ids = writer.tokenizer.get_vocab_size()
        if not all(0 <= each < num_ids for each in ids):
            raise ValueError(f"prompt: ids are 0 to {num_ids - 1:,}")
        return ids

    def most_tokens(self) -> int | None:
        """Tokens of the answer."""
        return self.max_tokens or USUAL_TOKENS


def read(value: Any, kind: type[ChatBody] | type[TextBody]) -> ChatBody | TextBody:
    """A body of JSON as what it asks for. Raises Refused for the first key that is wrong."""
    if not isinstance(value, dict):
        raise bad_request("an object of JSON is expected")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise mistake(error, kind) from None


def mistake(error: ValidationError, kind: type[Part]) -> Refused:
    """The first mistake of a body, with its key."""
    first = error.errors()[0]
    # Of a value of several types pydantic names each type, too.
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [each.alias or name for name, each in kind.model_fields.items()]
        hint = suggest(str(first["loc"][-1]), known)
        return bad_request(f"`{place[:80]}` is not done here. {hint}")
    return bad_request(f"`{place[:80]}`: {first['msg']}")
