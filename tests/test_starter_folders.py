"""Which files of a folder `limbeck init` reads, by sets as they were published, and what it says of the others."""

import subprocess
from pathlib import Path

import layouts
import pytest
from commands import call
from layouts import images, prose, text

from limbeck.artifact.rows.records import Dialect, read_records
from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe import tables
from limbeck.data.bad_rows import BadRows
from limbeck.recipe.reading import read
from limbeck.sources import BadRow
from limbeck.sources._cells.tags import TagProblem, as_iob2
from limbeck.sources._files import Lines
from limbeck.sources.csv import Csv


def put(folder: Path, **files: str) -> Path:
    """The folder with files, whose names have `__` for a slash and `_DOT_` for a dot."""
    names = {name: name.replace("__", "/").replace("_DOT_", ".") for name in files}
    return layouts.put(folder, {names[name]: content for name, content in files.items()})


def put_images(folder: Path, *folders: str, each: int = 3) -> Path:
    return layouts.put(folder, images(*folders, each=each))


def tsv(start: int = 0, count: int = 40, labels: bool = True) -> str:
    lines = ["ID\ttweet\tlabel" if labels else "ID\ttweet"]
    for number in range(start, start + count):
        cells = [f"a{number}", text(number), ("good", "bad")[number % 2]]
        lines.append("\t".join(cells if labels else cells[:2]))
    return "\n".join(lines) + "\n"


def reasons(guess: object) -> str:
    return "\n".join(getattr(guess, "reasons", []))


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    """AfriSenti: a file for each language in train, dev and test; README.txt was its train."""
    files = {
        f"{split}__{language}_{split}_DOT_tsv": tsv(start, 60 if language == "ha" else 30)
        for start, split in ((0, "train"), (100, "dev"), (200, "test"))
        for language in ("am", "ha")
    }
    put(tmp_path, **files, README_DOT_txt=prose(), train__README_DOT_txt=prose())
    guess = starter.look(tmp_path)
    keys = {key: guess.options[key] for key in ("train", "validation", "test")}
    assert keys == {
        "train": "train/ha_train.tsv",
        "validation": "dev/ha_dev.tsv",
        "test": "test/ha_test.tsv",
    }
    told = reasons(guess)
    assert "of several files of train train/ha_train.tsv is read" in told
    assert "not read: README.txt, dev/am_dev.tsv" in told
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path, "--out", out) == 0
    assert call("check", out, "--data-only") == 0


def test_the_folder_of_test_that_has_labels(tmp_path: Path) -> None:
    """CompLex: test/ without labels beside test-labels/."""
    put(
        tmp_path,
        train__x_train_DOT_tsv=tsv(),
        test__x_test_DOT_tsv=tsv(90, labels=False),
        **{"test-labels__x_test_DOT_tsv": tsv(90)},
    )
    guess = starter.look(tmp_path)
    assert guess.options["test"] == "test-labels/x_test.tsv"
    put(tmp_path, **{"test-labels__x_test_DOT_tsv": tsv(90, labels=False)})
    assert "no test split with labels such as train has" in reasons(starter.look(tmp_path))


def test_words_in_a_folder_for_each_split(tmp_path: Path) -> None:
    words = "Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n" * 8
    put(tmp_path, train__a_DOT_conll=words, test__a_DOT_conll=words)
    guess = starter.look(tmp_path)
    assert (guess.source, guess.options["test"]) == ("conll", "test/a.conll")


def test_several_folders_of_data_are_told(tmp_path: Path) -> None:
    put(tmp_path, amh__train_DOT_tsv=tsv(), hau__train_DOT_tsv=tsv())
    with pytest.raises(ValueError, match=r"several folders here hold data \(amh/, hau/\)"):
        starter.look(tmp_path)


@pytest.mark.parametrize(
    ("content", "first", "named"),
    [
        ("World\nSci/Tech news\n", 1, ["0", "World", "Sci/Tech news"]),  # AG News
        ("World\nSports\n", 0, ["World", "Sports"]),
        ("0\tanger\n1\tjoy", 0, ["anger", "joy"]),  # TweetEval
        ("a\nb\nc\nd\n", 0, None),  # of something else
    ],
)
def test_names_of_labels(content: str, first: int, named: list[str] | None, tmp_path: Path) -> None:
    rows = "".join(f"{n % 2 + first},{text(n)}\n" for n in range(40))
    put(tmp_path, train_DOT_csv=f"label,text\n{rows}", mapping_DOT_txt=content)
    guess = starter.look(tmp_path)
    assert guess.options.get("label_names") == named
    assert ("not read: mapping.txt" in reasons(guess)) == (named is None)


def test_notes_are_no_words_and_no_texts(tmp_path: Path) -> None:
    put(tmp_path, LICENSE_DOT_txt=prose(), classes_DOT_txt="a b c\nd e f\n", README="O x\n" * 9)
    with pytest.raises(
        ValueError, match=r"these lines are not words|nothing here that can be read"
    ):
        starter.look(tmp_path)
    put(tmp_path, data_DOT_csv="text,label\n" + "a b c,x\nd e f,y\n" * 9)
    assert "not read: LICENSE.txt, README, classes.txt" in reasons(starter.look(tmp_path))


def test_a_root_of_classes_and_examples(tmp_path: Path) -> None:
    """Sign-Language-Digits: Dataset/0 to Dataset/9 beside Examples/ were two classes."""
    put_images(tmp_path, *(f"Dataset/{digit}" for digit in range(4)), each=8)
    put_images(tmp_path, "Examples", each=2)
    guess = starter.look(tmp_path)
    assert guess.path == tmp_path / "Dataset"
    assert "32 images in 4 folders (0, 1, 2, 3)" in reasons(guess)
    assert "beside Dataset/, not read: Examples (2 images in no folder" in reasons(guess)


def test_two_classes_of_which_one_has_patients(tmp_path: Path) -> None:
    put_images(tmp_path, "cat/p1", "cat/p2", "dog", each=4)
    assert "in 2 folders (cat, dog)" in reasons(starter.look(tmp_path))


def test_splits_of_images_without_train_are_no_classes(tmp_path: Path) -> None:
    put_images(tmp_path, "test/cat", "test/dog", "val/cat", "val/dog")
    with pytest.raises(ValueError, match="none of them is train"):
        starter.look(tmp_path)


def test_a_table_of_images_becomes_split_csv(tmp_path: Path) -> None:
    """Dog breeds: labels.csv of id and breed beside train/ID.jpg. The command that is told works."""
    put_images(tmp_path, "train", each=12)
    put_images(tmp_path, "test", each=2)
    listed = "".join(f"{n},{('pug', 'collie')[n % 2]}\n" for n in range(12))
    put(tmp_path, labels_DOT_csv=f"id,breed\n{listed}")
    with pytest.raises(ValueError, match="a table that lists them") as caught:
        starter.look(tmp_path)
    cure = str(caught.value).partition("in that folder, ")[2]
    subprocess.run(cure, shell=True, check=True, cwd=tmp_path)
    guess = starter.look(tmp_path)
    assert "split.csv lists 12 images in 2 classes (collie, pug)" in reasons(guess)
    assert "test/0.png" in reasons(guess)


def test_images_of_a_contest_are_listed_by_its_tables(tmp_path: Path) -> None:
    """APTOS: train_images/ID.png and test_images/ID.png, train.csv with labels and test.csv without. Of several tables with labels each is a split; what a name or a cell holds is no shell's."""
    folder = 'it\'s $(touch bad) "x" & train_images'
    put_images(tmp_path, folder, each=12)
    (tmp_path / "test_images").mkdir()
    for number in range(4):
        (tmp_path / f"test_images/t{number}.png").write_bytes(
            (tmp_path / folder / "0.png").read_bytes()
        )
    listed = "".join(f'"a, b",{n},{("pug", "collie")[n % 2]}\n' for n in range(8))
    valid = "".join(f"b,{n},{('pug', 'collie')[n % 2]}\n" for n in range(8, 12))
    put(
        tmp_path,
        test_DOT_csv="id_code\nt0\nt1\nt2\nt3\n",
        train_DOT_csv=f"who,id_code,diagnosis\n{listed}\n",
        valid_DOT_csv=f"who,id_code,diagnosis\n{valid}",
    )
    with pytest.raises(ValueError, match="a table that lists them") as caught:
        starter.look(tmp_path)
    subprocess.run(
        str(caught.value).partition("in that folder, ")[2], shell=True, check=True, cwd=tmp_path
    )
    guess = starter.look(tmp_path)
    assert "split.csv lists 12 images in 2 classes (collie, pug)" in reasons(guess)
    assert "8 images (train), 4 images (validation)" in reasons(guess)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("name", ["a b.txt", "$(touch bad).txt", "it's.txt", "-n.txt", "a=b.txt"])
def test_the_names_in_a_cure_are_quoted(tmp_path: Path, name: str) -> None:
    """The command that parts labels from texts works in the file's folder, whatever its name."""
    lines = "".join(f"__label__{'ab'[n % 2]} a film of the year {n}\n" for n in range(30))
    (tmp_path / name).write_text(lines)
    with pytest.raises(ValueError, match="lines of fastText") as caught:
        starter.look(tmp_path / name)
    cure = str(caught.value).partition("in that folder: ")[2].rpartition(" && ")[0]
    subprocess.run(cure, shell=True, check=True, cwd=tmp_path)
    table = (tmp_path / "rows" / name).with_suffix(".tsv")
    assert table.read_text().splitlines()[0] == "a\ta film of the year 0"
    assert not (tmp_path / "bad").exists()


def test_a_picture_beside_data_is_no_set_of_images(tmp_path: Path) -> None:
    put_images(tmp_path, "docs", each=1)
    put(tmp_path, train_DOT_csv="text,label\n" + "a b c,x\nd e f,y\n" * 9)
    assert starter.look(tmp_path).source == "csv"


WORDS = "Ada B-PER\nLove I-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n"


def test_the_test_file_with_the_tags_of_train(tmp_path: Path) -> None:
    """WNUT 2017: one test file has words alone, one several tags a word."""
    put(
        tmp_path,
        wnut17train_DOT_conll=WORDS * 9,
        emerging_DOT_dev_DOT_conll=WORDS * 3,
        emerging_DOT_test="Ada\nsleeps\n\n" * 4,
        emerging_DOT_test_DOT_annotated=WORDS * 4,
        emerging_DOT_test_DOT_conll="Ada B-PER,B-LOC\nLove I-PER\nsleeps O\n\n" * 4,
    )
    guess = starter.look(tmp_path)
    assert guess.options["test"] == "emerging.test.annotated"
    assert "not read: emerging.test, emerging.test.conll" in reasons(guess)


def test_a_test_file_of_words_alone_is_no_test_split(tmp_path: Path) -> None:
    put(tmp_path, train_DOT_conll=WORDS * 9, test_DOT_conll="Ada\nsleeps\n\n" * 4)
    guess = starter.look(tmp_path)
    assert guess.path == tmp_path / "train.conll"
    assert "test.conll has no tags: it is not the test split" in reasons(guess)


def test_stray_tags_are_read_as_iob1(tmp_path: Path) -> None:
    """Weibo: 12 spans of 74,000 words begin with I-, behind the first thousand lines."""
    put(tmp_path, x_DOT_train=WORDS * 200 + "Love I-PER\nsleeps O\n\n", x_DOT_test=WORDS)
    guess = starter.look(tmp_path)
    assert guess.options["scheme"] == "iob1"
    assert "in 1 sentences a span begins with I-: read as IOB1" in reasons(guess)
    with pytest.raises(TagProblem, match=r"begins with B-PER; of IOB1, .*: iob1 "):
        as_iob2(["O", "I-PER"])


def test_label_and_text_in_a_file_without_suffix(tmp_path: Path) -> None:
    """The cure for SMSSpamCollection parted its lines at a space, though a tab was there."""
    lines = "".join(f"{('ham', 'spam')[n % 2]}\t{text(n)}\n" for n in range(40))
    put(tmp_path, SMSSpamCollection=lines, readme=prose())
    guess = starter.look(tmp_path)
    assert (guess.source, guess.options["label"], guess.options["text"]) == (
        "tsv",
        "column_1",
        "column_2",
    )


def test_texts_and_labels_in_two_files(tmp_path: Path) -> None:
    """TweetEval: what is told makes tables that are read, with the names of mapping.txt."""
    files = {}
    for start, split in ((0, "train"), (100, "val"), (200, "test")):
        files[f"{split}_text_DOT_txt"] = "".join(f"{text(n)}\n" for n in range(start, start + 40))
        files[f"{split}_labels_DOT_txt"] = "".join(f"{n % 2}\n" for n in range(start, start + 40))
    put(tmp_path, **files, mapping_DOT_txt="0\tanger\n1\tjoy")
    with pytest.raises(ValueError, match="for each split") as caught:
        starter.look(tmp_path)
    cure, _, giving = str(caught.value).partition("in that folder: ")[2].rpartition(" && ")
    assert giving == "limbeck init ."
    subprocess.run(cure, shell=True, check=True, cwd=tmp_path)
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path, "--out", out) == 0
    options = read(out).data.options
    assert (options["label"], options["label_names"]) == ("column_1", ["anger", "joy"])
    assert call("check", out, "--data-only") == 0


def test_quotes_that_are_characters(tmp_path: Path) -> None:
    """dair-ai's emotion: `init` wrote a recipe that its own check refused for such lines."""
    lines = [f'"so" good {text(n)};{("joy", "anger")[n % 2]}' for n in range(40)]
    put(tmp_path, train_DOT_txt="\n".join(lines), test_DOT_txt="\n".join(lines[:9]))
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path, "--out", out) == 0
    assert read(out).data.options["quoting"] == "none"
    assert call("check", out, "--data-only") == 0
    quoted = "text,label\n" + '"a, b and ""c""",x\n"d e f",y\n' * 9
    put(tmp_path, all_DOT_csv=quoted)
    assert "quoting" not in starter.look(tmp_path / "all.csv").options
    with pytest.raises(ValueError, match=r"data.quoting: `single` is none. Choices: double, none"):
        Csv(str(tmp_path / "all.csv"), quoting="single").read()


def test_a_quote_that_is_never_closed_is_read_to_the_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes all lines that follow; `limbeck init` read them three times over."""
    (tmp_path / "train.csv").write_text('text,label\n"' + "a b c d\n" * 5000)
    decoded = []
    decode = Lines._decoded
    monkeypatch.setattr(
        Lines, "_decoded", lambda self, *args: decoded.append(1) or decode(self, *args)
    )
    assert tables.read_records(tmp_path / "train.csv", "csv") == ([], {})
    assert len(decoded) < 2 * 5000


def test_an_artifact_reads_quotes_as_its_recipe_says(tmp_path: Path) -> None:
    path = put(tmp_path, all_DOT_csv='text,label\na "so" good,x\n"b,y\n') / "all.csv"
    found = list(read_records(path, "csv", Dialect(has_quotes=False)))
    assert [row.content for row in found] == [
        {"text": 'a "so" good', "label": "x"},
        {"text": '"b', "label": "y"},
    ]


def test_a_suggestion_ends_with_its_own_mark() -> None:
    bad = BadRows("fail")
    bad(BadRow("a.csv:3", "no such label. Did you mean `joy`?"))
    assert "Did you mean `joy`? Or leave" in bad.mistakes[0].message


def tagged(*tags: str, count: int = 40) -> str:
    """Sentences of as many words as there are tags, by lines."""
    sentence = "".join(f"word\t{tag}\n" for tag in tags)
    return f"{sentence}\n" * count


def test_a_test_file_whose_labels_were_taken_away_gives_way(tmp_path: Path) -> None:
    """IndoNLU's masked tests: a filler stands for every label, and reads as one."""
    put(
        tmp_path / "words",
        train_preprocess_DOT_txt=tagged("B", "I", "I", "O", "I", "O"),
        valid_preprocess_DOT_txt=tagged("I", "B", "I", "O"),
        test_preprocess_DOT_txt=tagged("I", "B", "I", "O"),
        test_preprocess_masked_label_DOT_txt=tagged("O", "O", "O", "O"),
    )
    guess = starter.look(tmp_path / "words")
    assert [file.name for file in guess.files["test"]] == ["test_preprocess.txt"]
    put(
        tmp_path / "texts",
        train_preprocess_DOT_tsv=tsv(),
        test_preprocess_DOT_tsv=tsv(100),
        test_preprocess_masked_label_DOT_tsv=tsv(100, 60),
    )
    guess = starter.look(tmp_path / "texts")
    assert [file.name for file in guess.files["test"]] == ["test_preprocess.tsv"]


def test_a_header_may_be_called_as_one_of_its_values(tmp_path: Path) -> None:
    """korean-hate-speech: the column `hate` holds hate, offensive and none."""
    lines = ["comments\tbiased\thate"]
    for number in range(60):
        lines.append(f"{text(number)}\t{number % 2 == 0}\t{('hate', 'none')[number // 2 % 2]}")
    put(tmp_path, train_DOT_tsv="\n".join(lines) + "\n")
    guess = starter.look(tmp_path)
    assert guess.options["text"] == "comments"
    assert "columns" not in guess.options


def test_the_diagnosis_of_a_picture_is_its_label(tmp_path: Path) -> None:
    """As HAM10000 lies: of the columns beside it, the sex has fewer values."""
    put_images(tmp_path, "images", each=24)
    names = sorted(file.stem for file in (tmp_path / "images").iterdir())
    rows = [f"{name},{'fm'[n % 2]},{('nv', 'mel', 'bkl')[n % 3]}" for n, name in enumerate(names)]
    put(tmp_path, meta_DOT_csv="image_id,sex,dx\n" + "\n".join(rows) + "\n")
    with pytest.raises(ValueError, match=r'\["meta.csv", 0, "images/", ".png", 2\]'):
        starter.look(tmp_path)
    # Where no name says it, the others are told.
    put(tmp_path, meta_DOT_csv="image_id,sex,found\n" + "\n".join(rows) + "\n")
    with pytest.raises(ValueError, match=r"`sex` is the label here, .*`found` could be it"):
        starter.look(tmp_path)
