"""What files of words in columns look like: which column is what, and the scheme of the tags."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.encodings import LATIN, add_encoding
from limbeck.cli.first_recipe.names import is_without_labels
from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.refused.foreign import refuse_without_train
from limbeck.cli.first_recipe.refused.tagged_words import refuse_languages
from limbeck.cli.first_recipe.sets.pairing import chosen, ranked, refuse_other_languages
from limbeck.cli.first_recipe.tables import files_read, read_alone, split_files
from limbeck.core.terminal.shell import command
from limbeck.core.wording import some
from limbeck.sources import SPLITS, OnBadRow, Patience, Row
from limbeck.sources._cells.tags import OF_BIOES, OUTSIDE, scheme_of, type_of
from limbeck.sources._files import Lines
from limbeck.sources._split_files import split_of
from limbeck.sources.conll import NO_WORD, SUFFIXES, Conll, split_columns

LINES = 1000  # looked at
SENTENCES = 50_000  # of each file, for what is wrong with its tags
SHOWN_TAGS = 6
COMMENT = "#"
# A table has a line a row; words in columns have blank lines between the sentences.
LONGEST_SENTENCE = 400
# Universal Dependencies: a word's number, form, lemma and universal part of speech, and six more.
CONLL_U = ".conllu"
CONLL_U_COLUMNS = 10
CONLL_U_TAG = 4
# Suffixes that tables do not have.
ONLY_WORDS = (".iob2", ".iob", ".bio", ".conll", ".conllu", ".conllx")
MOST_TAGS = 150  # of a word each: the Penn Treebank has 45, the Brown corpus more


def look_at_words(path: Path, files: Sequence[Path]) -> Guess | None:
    """Words with tags in columns; None where no file of train, or no lone file, is of these.

    `path`: the file, or the folder or archive that they lie in.
    """
    options = _own_names(files) if path.is_dir() else {}
    splits = _given(path, options) or split_files(path, files, SUFFIXES, options)
    if not splits and len(files) > 1 and layout_of(files[0]):
        refuse_without_train(path, files)
    train = splits.get("train") or (files[0] if len(files) == 1 else None)
    if train is None:
        _refuse_unnamed(path, files)
        return None
    found = layout_of(train)
    if found is None:
        return None
    if not splits:
        refuse_without_train(path, files)
    keys, column, tags = found
    sentences = _sentences_of(train, options | keys, Patience())
    words = [word for row in islice(sentences, LINES) for word in row["words"]]
    refuse_languages(list(splits.values()) or [train], words)
    guess = Guess("token-classification", "conll", path if splits else train, options | keys)
    guess.reasons.append(
        f"one word a line, its tag in column {column} ({some(sorted(tags), SHOWN_TAGS)})"
    )
    if keys.get("scheme") == "single":
        guess.reasons.append("every word has a tag of its own, as parts of speech are")
    elif keys.get("scheme") == "io":
        guess.reasons.append("each word of a span has its type, and words beside it go on with it")
    elif "scheme" in keys:
        guess.reasons.append(f"its spans are written in {keys['scheme'].upper()}")
    refuse_other_languages(splits)
    types = {tag[2:] if tag[:2] in OF_BIOES else tag for tag in tags}
    add_encoding(guess, splits or {"train": train})
    if splits:
        _choose_by_name(guess, splits, files, types)
        _choose_files(guess, splits, files, types)
    _judge_scheme(guess, splits or {"train": train})
    guess.files = files_read(guess, SUFFIXES)
    return guess


def _choose_by_name(
    guess: Guess, splits: dict[str, Path], files: Sequence[Path], types: set[str]
) -> None:
    """Take the file that goes with train by its name, of several that have its tags and nothing
    wrong with them. Raises Unclear where names do not say which."""
    trains = [file for file in files if split_of(file.name) == "train"]
    for split in ("validation", "test"):
        same = [file for file in files if split_of(file.name) == split]
        # Where all tags are O nothing is wrong with any.
        same = [file for file in same if not is_without_labels(file)]
        # Of usual names the source has the first, such as `test` before `test_small`.
        if split not in guess.options or split not in splits:
            continue
        taken = {name: file for name, file in splits.items() if name != split}
        best = chosen(
            same,
            taken,
            split,
            trains,
            lambda file: not any(_problems(file, guess.options, types)),
        )
        if best:
            splits[split] = best
            guess.options[split] = best.relative_to(guess.path).as_posix()


def _choose_files(
    guess: Guess, splits: dict[str, Path], files: Sequence[Path], types: set[str]
) -> None:
    """Give a split whose file cannot be read as train is another of its files, where one can; with
    none, read train alone.

    `types`: of the spans of train.
    """
    for split in [split for split in splits if split in ("validation", "test")]:
        first = _problems(splits[split], guess.options, types)
        if not any(first):
            continue
        same = [file for file in files if split_of(file.name) == split]
        same = [file for _, file in ranked(same, splits["train"])] or same
        # One whose tags were taken away has nothing wrong with it, since all of its tags are O.
        same = [file for file in same if not is_without_labels(file)] or same
        problems = {file: _problems(file, guess.options, types) for file in same}
        best = min(problems, key=lambda file: problems[file], default=splits[split])
        # A file of words alone is bad from its first sentence on.
        if has_no_tags(best, guess.options):
            guess.reasons.append(f"{best.name} has no tags: it is not the {split} split")
            read_alone(guess, splits["train"])
            splits.clear()
            return
        if best != splits[split] and problems[best] < first:
            old = splits[split].name
            splits[split] = best
            guess.options[split] = best.relative_to(guess.path).as_posix()
            told = f"{best.name} is read for {split}, as {old} has other tags or none"
            guess.reasons.append(told)


def _refuse_unnamed(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError where files of words with tags are called as no split: as tables they would
    be texts of one word."""
    words = [file for file in files if file.suffix.lower() in ONLY_WORDS and layout_of(file)]
    if len(words) > 1:
        raise ValueError(
            f"{path}: words with tags in {some([file.name for file in words], SHOWN_TAGS)}, none "
            "of which is called train. Put the word train, test or dev into their names; or, to "
            f"draw all splits from one, give that alone: {command('init', words[0])}"
        )


def _sentences_of(file: Path, options: Mapping[str, Any], on_bad_row: OnBadRow) -> Iterator[Row]:
    """The first sentences of a file, as the source will read them."""
    keys = {key: value for key, value in options.items() if key not in SPLITS}
    reader = Conll(path=str(file), **keys)
    return islice(reader.sentences(file, on_bad_row), SENTENCES)


def _problems(file: Path, options: Mapping[str, Any], types: set[str]) -> tuple[int, int]:
    """(sentences of a file that cannot be read, types of its spans that train lacks)."""
    bad = Patience()
    seen: set[str] = set()
    for row in _sentences_of(file, options, bad):
        seen.update(type_of(str(tag)) for tag in row["tags"])
    return bad.count, len(seen - types)


def has_no_tags(file: Path, options: Mapping[str, Any]) -> bool:
    """Whether no sentence of a file can be read with its tags."""
    return next(_sentences_of(file, options, Patience()), None) is None


def _judge_scheme(guess: Guess, splits: Mapping[str, Path]) -> None:
    """Read IOB2 with some spans that begin with I- as IOB1, which takes both."""
    if "scheme" in guess.options:
        return
    counts = {"iob2": 0, "iob1": 0}
    for scheme in counts:
        for split, file in splits.items():
            if split != "unlabelled":
                found = _problems(file, {**guess.options, "scheme": scheme}, set())
                counts[scheme] += found[0]
    # Sentences that no scheme can read stay bad rows, with their lines.
    num_stray = counts["iob2"] - counts["iob1"]
    if num_stray:
        guess.options["scheme"] = "iob1"
        guess.reasons.append(f"in {num_stray} sentences a span begins with I-: read as IOB1")


def _own_names(files: Sequence[Path]) -> dict[str, Any]:
    """The splits' files of Universal Dependencies, by the keys that name them, where a plain text
    of the same name lies beside each."""
    annotated = [file for file in files if file.suffix.lower() == CONLL_U]
    named: dict[str, Any] = {}
    for file in annotated:
        split = split_of(file.stem)
        if split in ("train", "validation", "test"):
            named[split] = file.name
    return named if "train" in named and len(annotated) < len(files) else {}


def _given(path: Path, options: Mapping[str, Any]) -> dict[str, Path]:
    return {split: path / name for split, name in options.items()}


def layout_of(path: Path) -> tuple[dict[str, Any], int, set[str]] | None:
    """(keys of the source, the column of the tags, the first tags), or None for another file.

    Raises ValueError for a file that cannot be read.
    """
    keys: dict[str, Any] = {}
    lines = Lines(path)
    first = list(islice(lines, LINES))
    if lines.problem and "is not UTF-8" in lines.problem.problem:
        # Columns and tags are ASCII in whatever the words are written in.
        first = list(islice(Lines(path, LATIN), LINES))
    rows = [split_columns(line) for line in first]
    # 1. Lines that are no words: `# id 17`, where the words have other numbers of columns.
    words = [row for row in rows if row and not row[0].startswith("-DOCSTART-")]
    # Of short sentences there may be more lines of comments than of words.
    widths = Counter(len(row) for row in words if not row[0].startswith(COMMENT))
    if not widths:
        return None
    width = widths.most_common(1)[0][0]
    if _has_comments(rows, width):
        keys["comments"] = COMMENT
        kept = zip(rows, first, strict=True)
        rows = [row for row, line in kept if not line.startswith(COMMENT)]
    # 2. Sentences, and the last column that holds tags.
    sentences = _sentences(rows, width)
    if width < 2 or not sentences or max(map(len, sentences)) > LONGEST_SENTENCE:
        return None
    if width == 2 and _are_whole_sentences(sentences):
        return None
    found: dict[int, tuple[str, set[str]]] = {}
    for column in range(width, 0, -1):
        tags = [[row[column - 1] for row in sentence] for sentence in sentences]
        scheme = scheme_of(tags)
        if scheme:
            found[column] = (scheme, {tag for sentence in tags for tag in sentence})
    if not found:
        return _single(sentences, width, keys)
    # A column of nested spans may hold none in the first lines.
    with_spans = [column for column, (_, seen) in found.items() if seen != {OUTSIDE}]
    column = (with_spans or list(found))[0]
    scheme, seen = found[column]
    if column < width:
        keys["tag_column"] = column
    if scheme != "iob2":
        keys["scheme"] = scheme
    if column == 1 or (column > 2 and _are_numbered(sentences)):
        keys["word_column"] = 2
    return keys, column, seen


def _sentences(rows: Sequence[Sequence[str]], width: int) -> list[list[Sequence[str]]]:
    """The lines of each sentence that have `width` columns and are a word."""
    sentences: list[list[Sequence[str]]] = [[]]
    for row in rows:
        if not row or row[0].startswith("-DOCSTART-"):
            sentences.append([])
        elif len(row) == width and not (width > 2 and NO_WORD.fullmatch(row[0])):
            sentences[-1].append(row)
    # The last one may be cut off, which hurts nothing.
    return [sentence for sentence in sentences if sentence]


def _are_whole_sentences(sentences: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether a line holds all words of a sentence and, behind a tab, as many tags: a table."""
    pairs = [[cell.split() for cell in row] for sentence in sentences for row in sentence]
    num_alike = sum(len(first) == len(second) > 1 for first, second in pairs)
    return 2 * num_alike > len(pairs)


def _are_numbered(sentences: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether the first column numbers the words."""
    return all(row[0].isdecimal() for sentence in sentences for row in sentence)


def _single(
    sentences: Sequence[Sequence[Sequence[str]]], width: int, keys: dict[str, Any]
) -> tuple[dict[str, Any], int, set[str]] | None:
    """The layout where each word has a tag that is no span's, such as its part of speech; None
    where no column holds such tags."""
    words = [row for sentence in sentences for row in sentence]
    if len(sentences) < 2 or len(words) < 2 * len(sentences):
        return None
    is_conll_u = width == CONLL_U_COLUMNS and _are_numbered(sentences)
    column = CONLL_U_TAG if is_conll_u else width
    tags = {row[column - 1] for row in words}
    are_few = 2 <= len(tags) <= min(MOST_TAGS, len(words) // 2)
    # A cell with a space is a text, and numbers may measure anything.
    if not are_few or any(" " in row[0] or row[column - 1].isdecimal() for row in words):
        return None
    # Parts of speech leave no word without one; of types of spans most words have none.
    keys["scheme"] = "io" if OUTSIDE in tags else "single"
    if is_conll_u:
        keys |= {"word_column": 2, "tag_column": column}
    return keys, column, tags


def _has_comments(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether lines that begin with a mark are no words: they have other numbers of columns than
    `width`, or begin most sentences."""
    num_begun = 0
    num_sentences = 0
    before: Sequence[str] = ()
    for row in rows:
        if row and not before:
            num_sentences += 1
            num_begun += row[0].startswith(COMMENT)
        if row and row[0].startswith(COMMENT) and len(row) != width:
            return True
        before = row
    return num_begun > 1 and 2 * num_begun > num_sentences
