"""Data as their publishers and tools write them: what `limbeck init` must not take them for, and the commands that it tells."""

import json
import shlex
import string
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import call
from layouts import png, prose, put, table, text

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.refused.tagged_words import refuse_tagged_words
from limbeck.data import checks

LETTERS = string.ascii_letters


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=str(path.name)) as caught:
        starter.look(path)
    return str(caught.value)


def cured(folder: Path, told: str) -> None:
    """Run the command of a message in the folder, all but the `limbeck init` that ends it."""
    command = told.partition("in that folder: ")[2] or told.partition("in that folder, ")[2]
    steps, _, last = command.rpartition(" && ")
    assert " init " in last
    subprocess.run(steps, shell=True, check=True, cwd=folder)


def reasons(folder: Path) -> str:
    return "\n".join(starter.look(folder).reasons)


def test_questions_are_a_header_over_answers(tmp_path: Path) -> None:
    """Not over texts: without numbers or a few answers below, a first line of sentences is a row."""
    header = "What do you like most about it?,How satisfied are you with all of it?"
    answers = ("Very satisfied", "Neutral", "Dissatisfied")
    put(tmp_path, {"a.csv": table(header, lambda n: f"{text(n)},{answers[n % 3]}")})
    guess = starter.look(tmp_path / "a.csv")
    assert guess.options["label"] == "How satisfied are you with all of it?"
    # Question classification: the first text is a question too, and its label one of the column.
    put(
        tmp_path,
        {"b.csv": table("", lambda n: f"who sings number {n} in this town?,{'ab'[n % 2]}")},
    )
    assert starter.look(tmp_path / "b.csv").options["columns"] == ["column_1", "column_2"]


def test_a_question_that_ends_as_ids_do_is_a_label(tmp_path: Path) -> None:
    header = "Timestamp,Your opinion of us,How happy are you with our response time"
    content = table(header, lambda n: f"2023-01-02 10:{n},{text(n)},{n % 5 + 1}")
    put(tmp_path, {"a.csv": content})
    label = starter.look(tmp_path / "a.csv").options["label"]
    assert label == "How happy are you with our response time"


@pytest.mark.parametrize(
    "below",
    [
        'When,"What do you, after all, think?",How likely?\n"{""ImportId"":""d""}","{""ImportId"":""'
        'QID1""}","{""ImportId"":""QID2""}"\n',
        ",Open-Ended Response,Response\n",
    ],
    ids=["Qualtrics", "SurveyMonkey"],
)
def test_rows_that_go_on_with_a_header(below: str, tmp_path: Path) -> None:
    answers = table("", lambda n: f"2023-01-02,{text(n)},{('Good', 'Bad')[n % 2]}")
    put(tmp_path, {"a.csv": f"Start Date,Q1,Q2\n{below}{answers}"})
    told = refusal(tmp_path / "a.csv")
    assert "go on with it, as tools for surveys" in told
    cured(tmp_path, told)
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("Start Date,Q1,Q2", 41)
    assert starter.look(tmp_path / "answers.csv").options["label"] == "Q2"


@pytest.mark.parametrize("first", ["From the balcony we saw ships.", "@relation, my word for it."])
def test_a_text_may_begin_as_a_format_does(first: str, tmp_path: Path) -> None:
    """A corpus whose first line begins with From was mails."""
    lines = "".join(
        f"{letter}. {line}\n" for letter, line in zip(LETTERS, prose().split("\n"), strict=False)
    )
    put(tmp_path, {"corpus.txt": f"{first}\n{lines}"})
    assert starter.look(tmp_path / "corpus.txt").task == "masked-lm"
    put(tmp_path, {"train.tsv": f"{first}\ta\n" + table("", lambda n: f"{text(n)}\t{'ab'[n % 2]}")})
    assert starter.look(tmp_path / "train.tsv").task == "text-classification"


def test_labels_that_only_look_alike_are_told_by_their_codes() -> None:
    (told,) = checks.alike(["Caf\xe9", "Cafe\u0301", "bar", "\ufeffbar"])
    assert told.endswith(r"`Caf\xe9` and `Cafe\u0301`; `bar` and `\ufeffbar`")


@pytest.mark.parametrize(
    ("line", "files", "scheme"),
    [
        ("\tThe/at town-hall/nn {n}/cd fell/vbd 1/2/cd ./.\n\n", ["ca01", "ca02"], "single"),
        ("The_DT clerk_NN n{n}_NN said_VBD snake_case_NN ._.\n", ["train.txt"], "single"),
        ("fly:O to:O york{n}:B-city <=> atis_flight\n", ["train.txt", "test.txt"], "iob2"),
    ],
    ids=["Brown", "Penn", "slots"],
)
def test_words_with_their_tags_behind_a_mark(
    line: str, files: list[str], scheme: str, tmp_path: Path
) -> None:
    mark = line.split()[0][3]
    words = line.format(n=0).partition("<=>")[0].split()
    content = "".join(line.format(n=n) for n in range(30))
    put(tmp_path, {**dict.fromkeys(files, content), "README": "The clerk fell. " * 9})
    told = refusal(tmp_path)
    assert f"words with a tag behind `{mark}` each" in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    assert (guess.task, guess.options.get("scheme", "iob2")) == ("token-classification", scheme)
    lines = (tmp_path / "rows" / "train.conll").read_text().split("\n\n")[0].splitlines()
    assert [each.replace("\t", mark) for each in lines] == words
    assert set(guess.files) == {Path(name).stem for name in files if "." in name} | {"train"}


@pytest.mark.parametrize(
    "line", ["+1 1:0.5 2:{n}.25 7:1 9:1\n", "at 10:15 we met http://x.org/{n} and/or left\n"]
)
def test_numbers_and_links_are_no_tags(line: str, tmp_path: Path) -> None:
    refuse_tagged_words(tmp_path, [line.format(n=n) for n in range(60)], [tmp_path])


def test_the_code_of_a_language_is_no_part_of_a_word(tmp_path: Path) -> None:
    """WikiANN: `en:Ada<tab>B-PER`."""
    words = "".join(f"en:Ada{n}\tB-PER\nen:'s\tO\nen:Re:Zero\tO\n\n" for n in range(20))
    put(tmp_path, {"train": words, "test": words, "extra": words})
    told = refusal(tmp_path)
    assert "`en:` stands before each word" in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    assert set(guess.files) == {"train", "test"}
    assert (tmp_path / "rows" / "train").read_text() == words.replace("en:", "")


def listed(folder: Path) -> list[str]:
    """The lines of split.csv once the command of the refusal was run, without the first."""
    told = refusal(folder)
    command = told.partition("in that folder, ")[2]
    if command:
        subprocess.run(command, shell=True, check=True, cwd=folder)
    else:
        cured(folder, told)
    lines = (folder / "split.csv").read_text().splitlines()
    out = folder.parent / "recipe.yaml"
    assert call("init", folder, "--out", out) == 0
    assert call("check", out, "--data-only") == 0
    return lines


@pytest.mark.parametrize("table_in", ["", "truth/", "images/"])
def test_a_column_for_each_class_beside_images(table_in: str, tmp_path: Path) -> None:
    """ISIC 2018: MEL, NV, BCC, of which a row has one: MEL alone was the label, 0.0 or 1.0."""
    folder = tmp_path / "isic"

    def row(number: int) -> str:
        shares = [f"{float(number % 3 == place):.1f}" for place in range(3)]
        return ",".join([f"ISIC_{number:04d}", *(shares if number else ["0.0"] * 3)])

    files = {f"images/ISIC_{n:04d}.png": png(n) for n in range(40)}
    put(folder, {**files, f"{table_in}truth.csv": table("image,MEL,NV,BCC", row)})
    lines = listed(folder)
    # The image 0 has no class.
    assert lines[:3] == ["file,label", "images/ISIC_0001.png,NV", "images/ISIC_0002.png,BCC"]
    assert len(lines) == 40


def test_several_labels_beside_images(tmp_path: Path) -> None:
    """NIH: findings between bars and a patient for each image, beside a table of boxes."""
    folder = tmp_path / "nih"
    findings = ("Mass", "No Finding", "Mass|Hernia", "Hernia")
    make = "Image Index,Finding Labels,Patient ID"
    rows = table(make, lambda n: f"{n:04d}_000.png,{findings[n % 4]},{n // 8}")
    boxes = table(
        "Image Index,Finding Label,Bbox [x,y,w,h]",
        lambda n: f"{n:04d}_000.png,{'ab'[n % 2]},1,2,3,4",
        count=9,
    )
    files = {f"images/{n:04d}_000.png": png(n) for n in range(40)}
    put(folder, {**files, "Data_Entry.csv": rows, "BBox_List.csv": boxes})
    assert "several labels; an image has one class here" in refusal(folder)
    lines = listed(folder)
    assert lines[:3] == [
        "file,label,group",
        "images/0000_000.png,Mass,0",
        "images/0001_000.png,No Finding,0",
    ]
    assert len(lines) == 31


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("with_mask", "without_mask", "mask_weared_incorrect"), "{n}.png"),
        (("with_mask", "without_mask"), "{n}_with_mask.png"),
        (("train/mask", "train/no_mask", "test/mask", "test/no_mask"), "{n}.png"),
    ],
)
def test_faces_with_masks_are_classes(folders: tuple[str, ...], names: str, tmp_path: Path) -> None:
    put(tmp_path, {f"{folder}/{names.format(n=n)}": png(n) for folder in folders for n in range(9)})
    classes = {Path(folder).name for folder in folders}
    assert f"in {len(classes)} folders ({', '.join(sorted(classes))})" in reasons(tmp_path)


@pytest.mark.parametrize(
    "mask",
    [
        "a (1)_mask.png",
        "a (1)_mask_1.png",
        "a (1)_segmentation.png",
        "a (1)_GT.png",
        "masks/a (1).png",
    ],
)
def test_masks_are_counted_and_left_out(mask: str, tmp_path: Path) -> None:
    """BUSI: `benign (1)_mask.png` beside `benign (1).png`."""
    folder = tmp_path / "busi"
    below = "images/" if "/" in mask else ""
    for start, name in ((0, "benign"), (50, "normal")):
        for n in range(12):
            put(folder, {f"set/{name}/{below}{name} ({n}).png": png(start + n)})
            other = mask.replace("a (1)", f"{name} ({n})")
            put(folder, {f"set/{name}/{other}": png(start + n + 90)})
    assert "(24 masks among 48 files, such as set/benign/" in refusal(folder)
    lines = listed(folder)
    assert lines[:2] == ["file,label,split", f"set/benign/{below}benign (0).png,benign,train"]
    assert len(lines) == 25


def test_numbers_with_a_comma_are_told(tmp_path: Path) -> None:
    """As spreadsheets write them between semicolons: each was a class of its own."""
    header = "satz1;satz2;score"
    rows = {"train.csv": 0, "test.csv": 200}
    for file, start in rows.items():
        content = table(header, lambda n: f"{text(n)};{text(n + 500)};{n % 9 / 2:.1f}", start)
        put(tmp_path, {file: content.replace(".", ",")})
    told = refusal(tmp_path)
    assert "numbers with a comma in `score` (0,0)" in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    assert (guess.task, set(guess.files)) == ("text-regression", {"train", "test"})


def test_shares_with_a_comma_are_told_and_lists_of_labels_are_not(tmp_path: Path) -> None:
    shares = table("text;joy;anger", lambda n: f"{text(n)};0,{n % 9};0,{9 - n % 9}5")
    put(tmp_path, {"a.csv": shares})
    assert "in `joy`, `anger` (0,0)" in refusal(tmp_path / "a.csv")
    put(tmp_path, {"b.csv": table("text,topics", lambda n: f'{text(n)},"{n % 3},{n % 4 + 3}"')})
    assert starter.look(tmp_path / "b.csv").options["label"] == "topics"


@pytest.mark.parametrize("name", ["blk_{n}", "-{n}x", "ISIC_{n:05d}", "scans/{n}{n}.jpg"])
def test_a_column_of_names_is_no_text(name: str, tmp_path: Path) -> None:
    """HDFS's anomaly_label.csv: the ids of blocks were learned from."""
    put(tmp_path, {"a.csv": table("Block,Label", lambda n: f"{name.format(n=n)},{'ab'[n % 2]}")})
    told = refusal(tmp_path / "a.csv")
    assert f"`Block` only names what each row is about ({name.format(n=0)})" in told
    # Beside texts it is passed over, and domains or molecules are texts of a word each.
    header = "Block,Trace,Label"
    put(
        tmp_path,
        {
            "b.csv": table(
                header, lambda n: f"{name.format(n=n)},E{n % 5} E7 E{n % 3} E9,{'ab'[n % 2]}"
            ),
            "c.csv": table("domain,Label", lambda n: f"{text(n).split()[5]}{n}.org,{'ab'[n % 2]}"),
        },
    )
    assert starter.look(tmp_path / "b.csv").options["text"] == "Trace"
    assert starter.look(tmp_path / "c.csv").options["text"] == "domain"


def test_arrays_of_images_and_of_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        np.save(tmp_path / f"x_{split}.npy", rng.integers(0, 256, (40, 6, 6), np.uint8))
        np.save(tmp_path / f"y_{split}.npy", np.arange(40) % 2)
    told = refusal(tmp_path)
    cured(tmp_path, told)
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path / "images.npz", "--out", out) == 0
    assert call("check", out, "--data-only") == 0


@pytest.mark.parametrize("names", [["a/1.dcm", "b/2.dcm"], ["1.dcm", "2.dcm"]])
def test_medical_images_are_told(names: list[str], tmp_path: Path) -> None:
    put(tmp_path, {**dict.fromkeys(names, b"\0" * 128 + b"DICM"), "labels.csv": "id,label\n1,0\n"})
    told = refusal(tmp_path)
    assert f"{tmp_path / names[0]}: a medical image (DICOM)" in told
    compile(shlex.split(told.partition(": /")[2].rpartition(" && ")[0])[2], "cure", "exec")


LISTS = {
    "Food-101": {
        "food/meta/train.txt": [f"{'ab'[n % 2]}/{n}" for n in range(16)],
        "food/meta/test.txt": [f"{'ab'[n % 2]}/{n}" for n in range(16, 24)],
        "food/meta/classes.txt": ["a", "b"],
    },
    "DTD": {
        f"food/labels/{split}{part}.txt": [f"{'ab'[n % 2]}/{n}.png" for n in numbers]
        for split, numbers in (("train", range(16)), ("test", range(16, 24)))
        for part in (1, 2, 10)
    },
    "with a label": {
        "trainval.txt": [f"{'ab'[n % 2]}/{n}.png {n % 2}" for n in range(16)],
        "test.txt": [f"{'ab'[n % 2]}/{n}.png {n % 2}" for n in range(16, 24)],
    },
    "CUB-200": {
        "food/images.txt": [f"{n + 1} {'ab'[n % 2]}/{n}.png" for n in range(24)],
        "food/train_test_split.txt": [f"{n + 1} {int(n < 16)}" for n in range(24)],
        "food/image_class_labels.txt": [f"{n + 1} {n % 2}" for n in range(24)],
    },
}


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
def test_the_split_as_published_is_told(lists: dict[str, list[str]], tmp_path: Path) -> None:
    """The lists were "not read", and another split was drawn."""
    folder = tmp_path / "set"
    put(folder, {f"food/images/{'ab'[n % 2]}/{n}.png": png(n) for n in range(24)})
    assert "as published" not in reasons(folder)
    put(folder, {name: "\n".join(lines) + "\n" for name, lines in lists.items()})
    told = reasons(folder)
    assert "the split as published stands in " in told
    cured(folder, told.splitlines()[1])
    guess = starter.look(folder)
    assert "read: 16 images (train), 8 images (test)" in "\n".join(guess.reasons)
    assert "24 images in 2 classes (a, b)" in guess.reasons[0]


def test_lists_of_something_else_are_no_splits(tmp_path: Path) -> None:
    put(tmp_path, {f"{'ab'[n % 2]}/{n}.png": png(n) for n in range(24)})
    put(tmp_path, {"train.txt": prose(), "test.txt": "0\n1\n", "split.txt": "1 0\n2 1\n"})
    assert "as published" not in reasons(tmp_path)


def test_numbers_of_rows_are_no_texts(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv": table("id,label", lambda n: f"{n},{'ab'[n % 2]}")})
    assert "`id` only names what each row is about (0)" in refusal(tmp_path / "a.csv")


def test_classes_beside_names_of_rows_are_no_texts(tmp_path: Path) -> None:
    header = "Block,Component,Label"
    content = table(header, lambda n: f"blk_{n},dfs.{('Node', 'Name')[n % 2]},{'ab'[n % 3 % 2]}")
    put(tmp_path, {"a.csv": content})
    assert "`Block` only names what each row is about" in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_turns_of_a_dialogue_in_columns_are_joined(suffix: str, tmp_path: Path) -> None:
    """EmoContext: the last turn alone was the text."""
    mark = "\t" if suffix == ".txt" else ","
    names = mark.join(["id", "turn1", "turn2", "turn3", "label"])

    def row(number: int) -> str:
        return mark.join([str(number), text(number), 'is "it" so', "yes it is", "ab"[number % 2]])

    put(tmp_path, {f"train{suffix}": table(names, row), f"test{suffix}": table(names, row, 90)})
    told = refusal(tmp_path)
    assert "a row has 3 texts (turn1, turn2, turn3)" in told
    assert "\t" not in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    assert (guess.options["text"], set(guess.files)) == ("text", {"train", "test"})
    first = (tmp_path / "rows" / "train.jsonl").read_text().splitlines()[0]
    assert f'{text(0)} / is \\"it\\" so / yes it is' in first


def test_parts_of_texts_are_no_classes(tmp_path: Path) -> None:
    """Enron-Spam: enron1/ham, enron1/spam, enron2/ham: the class was the part."""
    for part in ("enron1", "enron2"):
        for name in ("ham", "spam"):
            put(tmp_path, {f"mails/{part}/{name}/{n}.txt": f"{text(n)} {part}" for n in range(9)})
    told = refusal(tmp_path)
    assert "each of the folders enron1, enron2 holds ham, spam, which look like the classes" in told
    cured(tmp_path, told)
    assert "in 2 folders (ham, spam)" in reasons(tmp_path / "classes")
    # Authors with works of the same numbers are classes.
    for name in ("ada", "bob"):
        put(tmp_path, {f"works/{name}/{n}/a.txt": f"{text(n)} {name}" for n in range(9)})
    assert "in 2 folders (ada, bob)" in reasons(tmp_path / "works")


def test_tags_between_spaces_are_tags(tmp_path: Path) -> None:
    """Words in one column, as many tags in the other: the tags were no label and no text."""
    row = "Ada\u00e9 {n} sings in York\tB-PER I-PER O O B-LOC"
    put(tmp_path, {"train.tsv": table("", lambda n: row.format(n=n))})
    guess = starter.look(tmp_path / "train.tsv")
    assert guess.task == "token-classification"
    assert (guess.options["words"], guess.options["tags"]) == ("column_1", "column_2")
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path / "train.tsv", "--out", out) == 0
    assert call("check", out, "--data-only") == 0


def test_labels_below_lines_that_name_their_group(tmp_path: Path) -> None:
    """PubMed RCT: lines of ### and a number, then labels and sentences: they were plain texts."""

    def abstract(number: int) -> str:
        return f"###{number}\nAIMS\t{text(number)}\nRESULTS\tP ### < {number}\n\n"

    for split in ("train", "dev"):
        put(tmp_path, {f"{split}.txt": "".join(map(abstract, range(20)))})
    told = refusal(tmp_path)
    assert "a label (AIMS, RESULTS) and a text a line, below lines of ###" in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    keys = [guess.options[key] for key in ("text", "label", "group")]
    assert keys == ["text", "label", "document"]
    lines = (tmp_path / "rows" / "train.tsv").read_text().splitlines()
    assert lines[1:3] == [f"0\tAIMS\t{text(0)}", "0\tRESULTS\tP ### < 0"]


def test_more_comments_than_words(tmp_path: Path) -> None:
    """xSID: sentences of two words below three lines of comments."""
    sentence = (
        "# text: set alarm {n}\n# intent: alarm\n# slots: 4:9\n1\tset\tx\tO\n2\tit{n}\tx\tB-ref\n\n"
    )
    put(tmp_path, {"en.train.conll": "".join(sentence.format(n=n) for n in range(20))})
    guess = starter.look(tmp_path)
    assert (guess.options["comments"], guess.options["word_column"]) == ("#", 2)


def test_tables_of_splits_beside_folders_of_classes(tmp_path: Path) -> None:
    """EuroSAT, and GTSRB whose classes are called as some images are."""
    folder = tmp_path / "set"
    put(folder, {f"Train/{n % 2}/{n:03d}.png": png(n) for n in range(16)})
    put(folder, {f"Meta/{n}.png": png(n + 90) for n in range(2)})
    put(folder, {f"Test/{n:03d}.png": png(n + 50) for n in range(16, 24)})
    header = "ClassId,Path"
    put(
        folder,
        {
            "Train.csv": table(header, lambda n: f"{n % 2},{n % 2}/{n:03d}.png", count=16),
            "Test.csv": table(header, lambda n: f"{n % 2},Test/{n:03d}.png", 16, 8),
        },
    )
    told = reasons(folder)
    assert "the split as published stands in Train.csv, Test.csv" in told
    cured(folder, told.splitlines()[1])
    assert "16 images (train), 8 images (test)" in reasons(folder)


def test_cifar_as_its_authors_publish_it(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    rng = np.random.default_rng(0)
    batches = {
        f"{name}.bin": rng.integers(0, 10, (20, 3073), np.uint8)
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }
    put(folder, {name: batch.tobytes() for name, batch in batches.items()})
    told = refusal(tmp_path)
    cured(folder, told)
    with np.load(folder / "images.npz") as arrays:
        first = batches["data_batch_1.bin"][0]
        assert arrays["train_images"].shape == (40, 32, 32, 3)
        assert arrays["train_labels"][0] == first[0]
        assert arrays["train_images"][0, 0, 1].tolist() == [first[2], first[1026], first[2050]]
    put(tmp_path, {"py/data_batch_1": b"\x80", "py/test_batch": b"\x80"})
    assert "CIFAR's version for Python, pickles" in refusal(tmp_path / "py")


def test_an_intent_behind_the_tags_of_a_sentence(tmp_path: Path) -> None:
    """ATIS: `BOS words EOS`, a tab, a tag for each word and the intent for EOS."""
    row = "BOS fly to york {n} EOS\tO O O B-city O flight"
    for split in ("train", "test"):
        content = table("", lambda n: row.format(n=n))
        put(tmp_path, {f"atis-2.{split}.w-intent.iob": content})
    told = refusal(tmp_path)
    assert "then as many tags, the last an intent (flight)" in told
    cured(tmp_path, told)
    guess = starter.look(tmp_path / "rows")
    assert (guess.task, set(guess.files)) == ("token-classification", {"train", "test"})
    assert "`intent` is not learned: for that, task: text-classification" in guess.reasons[0]
    first = (tmp_path / "rows" / "train.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {
        "tokens": ["fly", "to", "york", "0"],
        "tags": ["O", "O", "B-city", "O"],
        "intent": "flight",
    }


def test_numbered_questions_are_no_turns(tmp_path: Path) -> None:
    rows = table("Q1,Q2,Q3,label", lambda n: f"{text(n)},{text(n)} too,{text(n)},{'ab'[n % 2]}")
    put(tmp_path, {"a.csv": rows})
    assert starter.look(tmp_path / "a.csv").options["text"] == "Q2"
