"""What a body of `/v1/chat/completions` or `/v1/completions` asks for.

Keys and defaults are OpenAI's; `top_k` and `repetition_penalty` are called as other servers of open
models call them. OpenAI's clients send more keys than that: those that change no answer are taken
and not used, with the values of which that is true; one that would change it, or that nobody knows,
is refused by its name. So are keys of which one would silently count for more than the other.
"""

import json
import secrets
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.constraint import JsonSchema
from limbeck.artifact.generation.sampling import Sampling
from limbeck.artifact.generation.text_model import TextModel
from limbeck.core.wording import suggest
from limbeck.server.requests.expected import expected, shown
from limbeck.server.requests.refusals import Refused, bad_request
from limbeck.tasks.chat.conversation import conversation

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
# As OpenAI's API has them: below 0, too.
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Words = Annotated[list[str], Field(max_length=MOST_STOP_WORDS)]
# What holds nothing, such as no tools at all.
Nothing = Annotated[list[Any], Field(max_length=0)]
NoKeys = Annotated[dict[str, Any], Field(max_length=0)]


# A mistake is told by its place, and those of a megabyte are not gathered.
Texts = Annotated[list[str], Field(fail_fast=True)]
Ids = Annotated[list[int], Field(fail_fast=True)]
# As every other way to ask has them.
Messages = Annotated[list[dict[str, str]], BeforeValidator(conversation)]


def only(value: bool | int) -> PlainValidator:
    """The one value of a key that changes nothing. `Literal[1]` would take `true` for it."""

    def check(given: Any) -> bool | int:
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            raise PydanticCustomError("literal_error", "", {"expected": json.dumps(value)})
        return value

    return PlainValidator(check)


class Part(BaseModel):
    """A part of a body: a key that it does not know is a mistake."""

    # An ignored key would be another answer than was asked for, and so would a value that is read
    # as one of another kind: "5" as 5, true as 1.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def without_many(cls, value: Any) -> Any:
        """The keys that it knows, and of the others the first that says something: a mistake for
        each of a million would take seconds to gather, and some clients write null for every key
        that they leave out."""
        if not isinstance(value, dict):
            return value
        names = set(names_of(cls))
        says = (key for key, each in value.items() if key not in names and each is not None)
        unknown = next(says, None)
        return {key: each for key, each in value.items() if key in names or key == unknown}


class StreamOptions(Part):
    """Of an answer that is streamed: whether its last piece tells how many tokens there were.

    include_obfuscation: pieces padded to one length, so that nobody on the way reads from lengths
        what is said; not done, so that it may only be turned off.
    """

    include_usage: bool | None = None
    include_obfuscation: Annotated[bool, only(False)] | None = None


class NamedSchema(Part):
    """A JSON schema, as OpenAI's clients send one; `strict` it is always."""

    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    # Pydantic's models have a method of this name.
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Part):
    """What an answer is: text, any object of JSON, or one that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def check(self) -> "ResponseFormat":
        """Raise ValueError for a schema that the answer would not follow."""
        if self.json_schema is not None and self.type != "json_schema":
            raise ValueError(
                f'`json_schema` stands beside the type "{self.type}": one is not meant'
            )
        return self


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
    n: Annotated[int, only(1)] | None = None
    frequency_penalty: Annotated[float, only(0)] | None = None
    presence_penalty: Annotated[float, only(0)] | None = None
    logit_bias: NoKeys | None = None
    # 4. Who is asking, and what it may cost, is of no use here, and nothing is stored.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None

    @model_validator(mode="after")
    def check(self) -> "Body":
        """Raise ValueError for keys beside one another of which one would not be read."""
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` are of a stream: send `stream: true` beside them")
        return self

    def sampling(self) -> Sampling:
        """How tokens are chosen; without a seed each answer has one of its own."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            repetition_penalty=self.repetition_penalty or 1.0,
            # Those below 0 are seeds of their own, above the others.
            seed=secrets.randbits(63) if self.seed is None else self.seed % 2**64,
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
            schema=None if schema is None else compiled(writer, schema),
        )


def compiled(writer: TextModel, schema: dict[str, Any]) -> JsonSchema:
    """A schema as a model follows it. Raises ValueError, with the key that it stands under."""
    try:
        return writer.schema(schema)
    except ValueError as error:
        raise ValueError(f"response_format: {error}") from None


class ChatBody(Body):
    """Of /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: Count | None = None
    # By habit, as those of `Body`.
    logprobs: Annotated[bool, only(False)] | None = None
    top_logprobs: Annotated[int, only(0)] | None = None
    tools: Nothing | None = None
    functions: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def check_lengths(self) -> "ChatBody":
        """Raise ValueError for two lengths that differ."""
        lengths = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(lengths) > 1:
            raise ValueError("`max_tokens` is the old name of `max_completion_tokens`: send one")
        return self

    def prompt(self, writer: TextModel) -> list[int]:
        """The ids of the conversation. Raises ValueError."""
        return writer.prompt_of_messages(self.messages)

    def most_tokens(self) -> int | None:
        """Tokens of the answer; None for as many as the model has room for."""
        return self.max_completion_tokens or self.max_tokens


class TextBody(Body):
    """Of /v1/completions; a prompt is a text, a list of one, or token ids."""

    # Otherwise a field would stand where a method is.
    prompt_: str | Texts | Ids = Field(alias="prompt")
    echo: Annotated[bool, only(False)] | None = None
    best_of: Annotated[int, only(1)] | None = None
    # Of so many other tokens beside those that are written: 0 asks for these.
    logprobs: Annotated[bool, only(False)] | None = None
    suffix: Literal[""] | None = None

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


# The parts of a body that have keys of their own.
PARTS: dict[str, type[Part]] = {
    "stream_options": StreamOptions,
    "response_format": ResponseFormat,
}


def mistake(error: ValidationError, kind: type[Part]) -> Refused:
    """The first mistake of a body, with its key."""
    found = error.errors()
    # Of a value of several types each type has its mistakes: the deepest one, and of those the one
    # that comes last, is of the type that was meant.
    first = max(found, key=lambda each: (len(each["loc"]), numbers_of(each["loc"])))
    place = place_of(first["loc"])
    if first["type"] == "extra_forbidden":
        known = PARTS.get(str(first["loc"][0]), kind)
        key = str(first["loc"][-1])
        return bad_request(f"`{place}` is not done here. {suggest(key, names_of(known))}")
    if first["type"] == "too_long" and first["ctx"]["max_length"] == 0:
        return bad_request(f"`{place}` is not done here: leave it out")
    # Of keys beside one another the sentence names both.
    if first["type"] == "value_error":
        return bad_request(str(first["ctx"]["error"]))
    told = [each for each in found if place_of(each["loc"]) == place]
    # A list that is too long is no text either, and that is not what is wrong with it.
    told = [each for each in told if not each["type"].endswith("_type")] or told
    expectations = dict.fromkeys(expected(each) or str(each["msg"]) for each in told)
    why = f"`{place}`: {' or '.join(expectations)} is expected"
    # Of a key that is missing the input is what lacks it.
    is_missing = first["type"] == "missing"
    return bad_request(why if is_missing else f"{why}, not {shown(first['input'])}")


def names_of(kind: type[BaseModel]) -> list[str]:
    """The keys of a part, as they are sent."""
    return [each.alias or name for name, each in kind.model_fields.items()]


def numbers_of(loc: tuple[int | str, ...]) -> list[int]:
    """The places in lists of where a value stands."""
    return [part for part in loc if isinstance(part, int)]


def place_of(loc: tuple[int | str, ...]) -> str:
    """Where a value stands in a body, without the names of types that pydantic puts between."""
    parts = [str(part) for part in loc]
    kept = [part for part in parts if part != "str" and "[" not in part]
    return ".".join(kept)[:80]
