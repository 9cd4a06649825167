"""What stands beside a text and its label: other columns that could be the label, annotators with a
label each, and what several rows belong to."""

import re
from collections import Counter
from collections.abc import Sequence

from limbeck.cli.first_recipe.table_columns.labels import (
    Columns,
    Record,
    beside,
    candidates,
    is_id,
    is_origin,
    parted,
    values_of,
)
from limbeck.core.wording import some
from limbeck.sources._cells.labels import WHOLE
from limbeck.sources._cells.record import is_empty
from limbeck.sources._column_names import LABEL_NAMES, plain
from limbeck.sources._table import LABEL

SHOWN = 5
# What several rows belong to. Of the second kind a column without `id` is a text.
GROUP = re.compile(
    r"(patient|user|subject|speaker|author|document|doc|customer|session|participant)([_ ]?id)?"
    r"|(sentence|dialog|dialogue|conversation|conv|thread|article|paragraph|passage|story|caption"
    r"|prompt|question|query|recording|video|case|post|lesion)[_ ]?(id|no|number|idx)"
)
# A column of one annotator, by a number or letter behind the word: `ann_1`, `rater2`, `coder_b`.
ANNOTATOR = re.compile(
    r"(^|_)(annotat(or|ion)|annot|anno|ann|rater|rating|coder|judge|worker|labell?er|label|vote"
    r"|voter|expert|person|reviewer|crowd|a|r)s?_?(\d+|[a-e])(_|$)"
)
LEAST_AGREED = 0.5  # of the rows have a majority: fewer have labels that are no votes on one thing
ROWS_A_CLASS = 5
# A group with more of the rows leaves little to be drawn.
LARGEST_GROUP = 0.1


def told_label(records: Sequence[Record], texts: Sequence[str], label: str) -> str:
    """What to say of a label where other columns could be it, or where it most likely is none;
    nothing where nothing is in doubt."""
    others = beside(records, texts)
    # Of an origin there may be no other choice, and it is doubtful all the same.
    is_named = _is_named(label)
    if not is_named and is_origin(label):
        doubt = f"`{label}` may say no more than where a row comes from. No column is called label"
        return f"{doubt}: name the right one with data.label"
    rest = [name for name in candidates(records, others) if name != label]
    if is_named:
        rest = [name for name in others if name != label and _could_be(records, name, rest)]
    if not rest:
        return ""
    listed = some([f"`{name}`" for name in rest], SHOWN)
    same = [f"`{name}`" for name in rest if _is_same(records, label, name)]
    goes_with = f" ({some(same, SHOWN)} goes with it in all of the first rows)" if same else ""
    if is_named:
        return (
            f"{listed} could be the label as well as `{label}`{goes_with}: name another with "
            "data.label"
        )
    told = f"no column is called label: `{label}` is taken, and {listed} could be it"
    alike = [name for name in rest if _classes(records, name) == _classes(records, label)]
    if alike:
        told += (
            f". {len(alike) + 1} columns have the same classes, and a recipe learns one of them; "
            "where they are annotators of one thing, data.vote_columns"
        )
    return f"{told}. Name the right one with data.label"


def _is_named(column: str) -> bool:
    """Whether a column is called as labels are."""
    return plain(column) in LABEL_NAMES or plain(column).endswith(LABEL)


def _could_be(records: Sequence[Record], name: str, rest: Sequence[str]) -> bool:
    """Whether a column could be the label beside one that is called so: it is called so too, or
    holds words that are classes. `rest`: those that could be it by their values."""
    values = values_of(records, name)
    num_values = len({str(value) for value in values})
    if num_values < 2 or is_id(name, values):
        return False
    if _is_named(name):
        return num_values <= max(2, len(values) // 2)
    is_apart = is_origin(name) or GROUP.fullmatch(plain(name))
    are_words = not any(WHOLE.fullmatch(str(value)) for value in values)
    is_few = num_values <= max(2, len(values) // ROWS_A_CLASS)
    return name in rest and not is_apart and are_words and is_few


def _classes(records: Sequence[Record], column: str) -> set[str]:
    return {str(value).strip() for value in values_of(records, column)}


def _is_same(records: Sequence[Record], label: str, other: str) -> bool:
    """Whether a column says the same as the label, in other words: as a name beside its number."""
    pairs = {(str(record.get(label)), str(record.get(other))) for record in records}
    firsts, seconds = {first for first, _ in pairs}, {second for _, second in pairs}
    return len(pairs) == len(firsts) == len(seconds)


def vote_columns(records: Sequence[Record], texts: Sequence[str]) -> list[str]:
    """The columns of annotators, each with a label of the same few; none where there are none, or
    where another column says what they agreed on."""
    names = beside(records, texts)
    voters = [name for name in names if ANNOTATOR.search(_words(name))]
    if len(voters) < 2 or any(_is_named(name) for name in names if name not in voters):
        return []
    classes = [_classes(records, name) for name in voters]
    every, common = set.union(*classes), set.intersection(*classes)
    most = max(2, len(records) // ROWS_A_CLASS)
    if not 2 <= len(every) <= most or 2 * len(common) < len(every):
        return []
    num_agreed = sum(_has_majority(record, voters) for record in records)
    return voters if num_agreed >= LEAST_AGREED * len(records) else []


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", parted(name))


def _has_majority(record: Record, voters: Sequence[str]) -> bool:
    votes = Counter(
        str(record.get(name)).strip() for name in voters if not is_empty(record.get(name))
    )
    counts = [count for _, count in votes.most_common(2)]
    return bool(counts) and (len(counts) == 1 or counts[0] > counts[1])


def of_votes(
    records: Sequence[Record], voters: Sequence[str], options: dict[str, object]
) -> Columns:
    """The label that most annotators gave; rows without a majority are left out, and counted."""
    options["vote_columns"] = list(voters)
    told = (
        f"`{voters[0]}` to `{voters[-1]}` are {len(voters)} annotators with a label each: a row's "
        "label is what most of them say. To learn one of them: data.label in place of vote_columns"
    )
    num_tied = sum(not _has_majority(record, voters) for record in records)
    if num_tied:
        options["on_bad_row"] = "skip"
        told += f"; {num_tied:,} of the first rows have no majority and are left out"
    return Columns("text-classification", options, told)


def add_group(found: Columns, records: Sequence[Record]) -> None:
    """Name the column of what a row belongs to, where there is one."""
    taken = {str(value) for value in found.options.values()}
    largest: dict[str, int] = {}
    for name in records[0]:
        if not GROUP.fullmatch(plain(name)) or name in taken:
            continue
        counts = Counter(str(record.get(name)) for record in records)
        # One value groups nothing, and one for each row is a key.
        if 1 < len(counts) < len(records):
            largest[name] = max(counts.values())
    if not largest:
        return
    # The widest groups that leave enough to draw, as patients over their visits; else the smallest.
    drawable = [name for name in largest if largest[name] <= LARGEST_GROUP * len(records)]
    chosen = max(drawable, key=largest.__getitem__, default=min(largest, key=largest.__getitem__))
    found.options["group"] = chosen
    told = f"a drawn split keeps rows of one `{chosen}` together"
    rest = [f"`{name}`" for name in largest if name != chosen]
    if rest:
        told += f" (or of one {some(rest, SHOWN)}: data.group)"
    found.reason = "; ".join(filter(None, [found.reason, told]))
