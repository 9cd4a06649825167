"""Tags of words as they are written down, turned into IOB2 where they are of spans.

    iob2     B- begins every span, I- goes on with it (Ratnaparkhi, 1998)
    iob1     I- is any word of a span, B- begins one right behind another of its type (Ramshaw and
             Marcus, 1995, arXiv cmp-lg/9505040), as CoNLL-2003 was published
    bioes    B- I- E- of spans of several words, S- of one (also as BILOU: L- for E-, U- for S-)
    io       a type for every word of a span: words of one type side by side are one span
    single   a tag for every word, which is a span of its own, as parts of speech are; it keeps its
             name, NOUN

O is outside of any span in all of them. Where spans have no types (`B`, `I`) all are of one:
ENTITY.
"""

from collections.abc import Sequence

from limbeck.core import wording

SCHEMES = ("iob2", "iob1", "bioes", "io", "single")
SPAN_SCHEMES = SCHEMES[:3]
OUTSIDE = "O"
# Of one row. A chapter has 10,000 words; a file without blank lines is one sentence.
MOST_WORDS = 100_000
MOST_WORD_CHARACTERS = 1 << 20
UNTYPED = "ENTITY"
IOB2 = ("B-", "I-")
# The prefixes of `bioes` and of BILOU, in IOB2.
OF_BIOES = {"B-": "B-", "I-": "I-", "E-": "I-", "L-": "I-", "S-": "B-", "U-": "B-"}
# Tags are read for a recipe, and for `limbeck evaluate`, which takes none.
OTHER_SCHEME = "; of {what}: data.scheme: {scheme} (limbeck evaluate: --scheme {scheme})"


class TagProblem(ValueError):
    """A tag that cannot be read; `number`: of its word, from 0."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number


def check_scheme(scheme: str) -> None:
    """Raise ValueError where there is no such scheme."""
    if scheme not in SCHEMES:
        raise ValueError(f"data.scheme: `{scheme}` is none. {wording.suggest(scheme, SCHEMES)}")


def check_length(words: Sequence[str]) -> None:
    """Raise ValueError where words are too many, or too long, for one sentence."""
    num_characters = sum(map(len, words))
    if len(words) > MOST_WORDS or num_characters > MOST_WORD_CHARACTERS:
        raise ValueError(
            f"a sentence of {len(words):,} words and {num_characters:,} characters; at most "
            f"{MOST_WORDS:,} words of {MOST_WORD_CHARACTERS:,} characters are read as one. "
            "Break it into several"
        )


def as_iob2(tags: Sequence[str], scheme: str = "iob2") -> list[str]:
    """The tags of a sentence in IOB2; those of `single` as they are.

    Raises TagProblem for what is no tag of the scheme, and in IOB2 for a span that goes on without
    having begun.
    """
    if scheme == "single":
        return [_checked_word(number, tag) for number, tag in enumerate(tags)]
    if scheme == "io":
        types = [_checked_type(number, tag) for number, tag in enumerate(tags)]
        return [_of_type(types, number) for number in range(len(types))]
    read: list[str] = []
    before = OUTSIDE
    for number, given in enumerate(tags):
        tag = f"{given}-{UNTYPED}" if f"{given}-" in OF_BIOES else given
        prefix, span_type = tag[:2], tag[2:]
        known = OF_BIOES if scheme == "bioes" else IOB2
        if tag != OUTSIDE and (prefix not in known or not span_type):
            if scheme == "bioes":
                raise TagProblem(number, f"`{tag}` is no tag. Write O, B-, I-, E- or S-TYPE")
            other = OTHER_SCHEME.format(what="BIOES and BILOU", scheme="bioes")
            told = f"`{tag}` is no IOB2 tag. Write O, B-TYPE or I-TYPE"
            raise TagProblem(number, told + (other if prefix in OF_BIOES and span_type else ""))
        goes_on = before != OUTSIDE and before[2:] == span_type
        if tag == OUTSIDE:
            read.append(tag)
        elif scheme == "bioes":
            read.append(OF_BIOES[prefix] + span_type)
        elif prefix == "I-" and not goes_on:
            if scheme == "iob2":
                raise TagProblem(
                    number,
                    f"`{tag}` follows `{before}`. In IOB2 a span begins with B-{span_type}"
                    + OTHER_SCHEME.format(what="IOB1, where I- may begin one", scheme="iob1"),
                )
            read.append(f"B-{span_type}")
        else:
            read.append(tag)
        before = tag
    return read


def _checked_type(number: int, tag: str) -> str:
    if not tag:
        raise TagProblem(number, "no tag. Give the word one, or O")
    return tag


def _checked_word(number: int, tag: str) -> str:
    if tag.startswith(IOB2):
        raise TagProblem(
            number, f"`{tag}` goes with spans of several words, and not with data.scheme: single"
        )
    return _checked_type(number, tag)


def _of_type(types: Sequence[str], number: int) -> str:
    """The tag of a word by the types of all: a span goes on where the word before has its type."""
    name = types[number]
    if name == OUTSIDE:
        return OUTSIDE
    is_same = number > 0 and types[number - 1] == name
    return f"I-{name}" if is_same else f"B-{name}"


def type_of(tag: str) -> str:
    """The type of a tag as rows have it: `PER` of `B-PER`, `NOUN` of itself."""
    return tag[2:] if tag.startswith(IOB2) else tag


def scheme_of(sentences: Sequence[Sequence[str]]) -> str | None:
    """The scheme of spans that sentences of tags are written in; None where they are in none."""
    for scheme in SPAN_SCHEMES:
        try:
            for tags in sentences:
                as_iob2(tags, scheme)
        except TagProblem:
            continue
        return scheme
    return None
