"""The names that people give to columns of texts, pairs and labels, beside those of `_table`.

`limbeck init` guesses by them, and an artifact reads by them what is not called as its recipe says.
"""

from collections.abc import Iterable

from limbeck.sources._table import LABEL, TEXT

# `tokens` is left out: a column of that name more often holds words to be tagged than a text.
TEXT_NAMES = (
    *(name for name in TEXT if name != "tokens"),
    *(
        "tweet",
        "message",
        "comment",
        "comment_text",
        "body",
        "query",
        "description",
        "sms",
        "title",
        "text_a",
        "utt",
    ),
)
# First and second text of a pair, in the words of GLUE, SNLI, SICK, STS and others.
PAIRS = (
    *(("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b")),
    *(("sent_a", "sent_b"), ("sent1", "sent2"), ("text_a", "text_b"), ("text1", "text2")),
    *(("text_1", "text_2"), ("text", "text_b"), ("premise", "hypothesis"), ("s1", "s2")),
    *(("question1", "question2"), ("question_1", "question_2"), ("#1 string", "#2 string")),
    *(("question", "sentence"), ("question", "passage"), ("question", "context")),
    *(("question", "answer"), ("query", "passage"), ("query", "document"), ("claim", "evidence")),
    *(("title", "description"), ("title", "text"), ("title", "body"), ("title", "content")),
    *(("context", "response"), ("anchor", "positive"), ("input1", "input2"), ("anchor", "target")),
    *(("query", "product_title"), ("title", "review text"), ("title", "review_text")),
    *(("title", "overview"), ("title", "abstract"), ("title", "summary"), ("subject", "body")),
    *(("headline", "short_description"), ("summary", "description")),
)
# Some that stand for a label before others: the label that annotators agreed on, of them all.
LABEL_NAMES = (
    *("gold_label", *LABEL, "quality", "is_duplicate", "topic", "tag", "polarity", "emotion"),
    *("diagnosis", "dx"),
    *("rating", "stars", "genres", "genre", "type", "y", "class index", "v1"),
)


def plain(name: str) -> str:
    """A column's name as it is looked up: in small letters, without blanks around it."""
    return str(name).strip().lower()


def pairs_in(columns: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of columns that are called as first and second text of a pair, the usual first."""
    column_of = {plain(column): column for column in columns}
    return [
        (column_of[first], column_of[second])
        for first, second in PAIRS
        if first in column_of and second in column_of
    ]
