"""Which files of several splits belong together, by the words of their names.

A file of test goes with one of train where both are called so (`train.Ar`, `task_A_Ar_test`), and
never where the name has the language, the task or the domain of another one of train. Where two
are equally likely, a person is asked: a wrong pair is a verdict on something else.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from limbeck.cli.first_recipe.names import is_without_labels
from limbeck.core.terminal.shell import command, quoted
from limbeck.core.wording import some
from limbeck.sources._split_files import SPLIT_OF_NAME, split_of
from limbeck.sources._unpacked import bare_name

SHOWN = 6
MADE = "chosen"  # the folder that the command of a question makes
MOST_SHARED = 0.5  # of the rows of a split, that train may hold as well
# ISO 639-1, without the codes that are words of English names: no, is, as, or, to, so, my, be, an.
CODES = (
    "aa ab af ak am ar av ay az ba bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv "
    "dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi hr ht hu hy hz ia "
    "id ie ig ii ik it iu ja jv ka kg ki kk kl km kn ko ks ku kv kw ky la lb lg li ln lt lu lv "
    "mg mh mi mk ml mn mr ms mt na nb nd ne ng nl nn nr nv ny oc oj os pa pi pl ps pt qu rm rn "
    "ro ru rw sa sc sd se sg si sk sl sm sn sq sr ss st su sv sw ta te tg th ti tk tl tn tr ts "
    "tt tw ty ug uk ur uz ve vi wa wo xh yi yo za zh zu "
)
LANGUAGES = frozenset(CODES.split())
# What people write in place of a code, in names of files.
NAMES_OF = {
    "ar": "arabic ara",
    "en": "english eng",
    "de": "german deu ger",
    "fr": "french fra fre",
    "es": "spanish spa esp",
    "it": "italian ita",
    "pt": "portuguese por",
    "nl": "dutch nld ned",
    "ru": "russian rus",
    "zh": "chinese zho",
    "ja": "japanese jpn",
    "ko": "korean kor",
    "hi": "hindi hin",
    "tr": "turkish tur",
    "pl": "polish pol",
    "da": "danish dan",
    "sv": "swedish swe",
    "fi": "finnish fin",
    "el": "greek ell",
    "ha": "hausa hau",
    "ig": "igbo ibo",
    "yo": "yoruba yor",
    "sw": "swahili swa",
    "am": "amharic amh",
    "ur": "urdu urd",
}
CODE_OF = {name: code for code, names in NAMES_OF.items() for name in names.split()}

Words = frozenset[str]


class Unclear(ValueError):
    """Several files could be one split, and their names do not say which."""


def words_of(file: Path) -> Words:
    """The words and numbers of a file's name, without those of splits; languages by their code.

    >>> sorted(words_of(Path("task_A_English_test.csv")))
    ['a', 'en', 'task']
    """
    # `eng.train` has its split for a suffix, and its name before it.
    name = bare_name(file)
    stem = name if split_of(Path(name).suffix) else Path(name).stem
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).lower()
    words = re.findall(r"[^\W\d_]+|\d+", parted)
    return frozenset(CODE_OF.get(word, word) for word in words if word not in SPLIT_OF_NAME)


def is_other_language(file: Path, train: Path) -> bool:
    """Whether two names have marks of languages, and none in common."""
    of_file = words_of(file) & LANGUAGES
    of_train = words_of(train) & LANGUAGES
    return bool(of_file and of_train) and not of_file & of_train


def ranked(
    files: Sequence[Path], train: Path, trains: Sequence[Path] = ()
) -> list[tuple[tuple[int, ...], Path]]:
    """(how far its name is from that of train, a file) of the files that may go with train, the
    likeliest first.

    `trains`: all files that could be train, of which one was taken.
    """
    own = words_of(train)
    of_trains = [words_of(file) for file in trains if file != train]
    foreign = frozenset().union(*of_trains) - own
    # What marks this train among the others; nothing where one has all words of the other.
    marks = own - frozenset.intersection(own, *of_trains)
    found = []
    for file in files:
        words = words_of(file)
        is_of_another = bool(words & foreign) and bool(marks) and not words & marks
        if is_of_another or is_other_language(file, train):
            continue
        far = (
            int(is_without_labels(file)),
            int(words != own),
            len(words & foreign),
            -len(words & own),
        )
        found.append((far, file))
    return sorted(found, key=lambda one: (one[0], -_size(one[1]), str(one[1])))


def likeliest(files: Sequence[Path], train: Path, trains: Sequence[Path] = ()) -> Path | None:
    """The file that goes with train by its name, the largest of those that go equally well; None
    where none does."""
    found = ranked(files, train, trains)
    return found[0][1] if found else None


def chosen(
    files: Sequence[Path],
    splits: Mapping[str, Path],
    split: str,
    trains: Sequence[Path],
    fits: Callable[[Path], bool],
) -> Path | None:
    """The file of a split that goes with train by its name, and fits; None where none does.

    `splits`: the files that were taken already, that of train among them. Raises Unclear where
    several go equally well.
    """
    train = splits["train"]
    for _, group in groupby(ranked(files, train, trains), key=lambda one: one[0]):
        fitting = [file for _, file in group if fits(file)]
        if len(fitting) > 1:
            raise unclear(splits, split, fitting)
        if fitting:
            return fitting[0]
    return None


def unclear(splits: Mapping[str, Path], split: str, rivals: Sequence[Path]) -> Unclear:
    """The question which file is a split, with the command for an answer."""
    train = splits["train"]
    folder = _common([*splits.values(), *rivals])
    names = [file.relative_to(folder).as_posix() for file in rivals]
    return Unclear(
        f"{folder}: several files could be the {split} split of "
        f"{train.relative_to(folder).as_posix()}: {some(names, SHOWN)}. Put the one that you mean "
        "beside train in a folder of their own, in that folder: "
        f"{copying(folder, {**splits, split: rivals[0]})}"
    )


def refuse_other_languages(splits: Mapping[str, Path]) -> None:
    """Raise Unclear where the file of a split is of another language than train, by its name."""
    train = splits.get("train")
    for split, file in splits.items():
        if train and split in ("validation", "test") and is_other_language(file, train):
            kept = {name: path for name, path in splits.items() if path != file}
            folder = _common([*splits.values()])
            raise Unclear(
                f"{folder}: {file.name} is of another language than {train.name}, by its name. Put "
                "those that belong together into a folder of their own (a split that lacks is "
                f"drawn from train), in that folder: {copying(folder, kept)}"
            )


def family(
    files: Sequence[Path], rows_of: Callable[[Path], set[str]] | None = None
) -> dict[str, Path]:
    """One file of each split, all of one set by their names; none where no file is of train.

    `rows_of`: the rows of a file, by which a train that holds most of validation is told.
    """
    of_split: defaultdict[str | None, list[Path]] = defaultdict(list)
    for file in files:
        of_split[split_of(file.stem) or split_of(file.name)].append(file)
    trains = of_split["train"]
    families = []
    for train in trains:
        found = {"train": train}
        for split in ("validation", "test"):
            best = likeliest(of_split[split], train, trains)
            # Published beside train, a test split is another's to judge; validation can be drawn.
            is_held = bool(best and rows_of and _holds(rows_of, train, best))
            if best and not (split == "validation" and is_held):
                found[split] = best
        alike = sum(words_of(file) == words_of(train) for file in found.values())
        families.append((len(found), alike, _size(train), found))
    return max(families, key=lambda one: one[:3])[3] if families else {}


def _holds(rows_of: Callable[[Path], set[str]], train: Path, file: Path) -> bool:
    """Whether train holds most rows of another file: a score on them is one on rows learned."""
    rows = rows_of(file)
    return len(rows & rows_of(train)) > MOST_SHARED * len(rows)


def copying(folder: Path, splits: Mapping[str, Path]) -> str:
    """The command that puts files of splits into a folder, by usual names."""
    copies = []
    for split, file in splits.items():
        suffix = "".join(Path(file.name).suffixes[-1:])
        source = quoted(file.relative_to(folder).as_posix())
        copies.append(f"cp {source} {MADE}/{split}{suffix}")
    return " && ".join([f"mkdir {MADE}", *copies, command("init", MADE)])


def _common(files: Sequence[Path]) -> Path:
    """The innermost folder that all files lie in."""
    folder = files[0].parent
    while not all(folder in file.parents for file in files):
        folder = folder.parent
    return folder


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
