"""Which files and folders `limbeck init` takes for one set, by their names: and what it asks where those do not say."""

import json
import subprocess
from pathlib import Path

import layouts
import pytest
from layouts import images, put, text

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.sets.pairing import is_other_language, likeliest, words_of


def rows(start: int = 0, columns: str = "text,label", count: int = 40) -> str:
    lines = [f"{text(n)},{('good', 'bad')[n % 2]}" for n in range(start, start + count)]
    return "\n".join([columns, *lines]) + "\n"


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=folder.name) as caught:
        starter.look(folder)
    return str(caught.value)


def cured(folder: Path, told: str) -> Path:
    """Run the command of a message in the folder, all but `limbeck init FOLDER`; that folder."""
    steps, _, last = told.rpartition("in that folder: ")[2].partition("\n")[0].rpartition(" && ")
    subprocess.run(steps, shell=True, check=True, cwd=folder)
    return folder / last.rpartition("init ")[2]


def reasons(folder: Path) -> str:
    return "\n".join(starter.look(folder).reasons)


def test_a_test_of_the_language_of_train(tmp_path: Path) -> None:
    """iSarcasmEval: the largest test of a train in Arabic was one in English."""
    files = {
        "train/train.Ar.csv": rows(count=90),
        "train/train.En.csv": rows(100),
        "test/task_A_En_test.csv": rows(300, count=90),
        "test/task_A_Ar_test.csv": rows(500),
        "test/task_C_Ar_test.csv": rows(700).replace("text,label", "a,b"),
    }
    guess = starter.look(put(tmp_path, files))
    assert guess.options["train"] == "train/train.Ar.csv"
    assert guess.options["test"] == "test/task_A_Ar_test.csv"
    (tmp_path / "test/task_A_Ar_test.csv").unlink()
    guess = starter.look(tmp_path)
    assert "test" not in guess.options
    assert "no test split with labels such as train has" in "\n".join(guess.reasons)


@pytest.mark.parametrize(
    ("train", "tests", "best"),
    [
        ("laptop_train.csv", ["restaurant_test.csv", "laptop_gold_test.csv"], "laptop_gold_test.csv"),
        ("train-taskB.csv", ["test_taskA_x.csv", "test_taskB_x.csv"], "test_taskB_x.csv"),
        ("train_english.csv", ["test.de.csv", "test.en.csv"], "test.en.csv"),
        ("in_domain_train.csv", ["out_of_domain_test.csv", "in_domain_test.csv"], "in_domain_test.csv"),
        ("train_de.csv", ["test_fr.csv"], None),
        ("train_de.csv", ["test.csv"], "test.csv"),
    ],
)  # fmt: skip
def test_parts_of_names_pair_files(train: str, tests: list[str], best: str | None) -> None:
    found = likeliest([Path(name) for name in tests], Path(train))
    assert (found and found.name) == best


def test_a_file_of_another_train_is_no_test_of_this_one() -> None:
    trains = [Path("train_laptop.csv"), Path("train_restaurant.csv")]
    assert likeliest([Path("restaurant_test.csv")], trains[0], trains) is None
    assert likeliest([Path("restaurant_test.csv")], trains[1], trains) is not None
    assert likeliest([Path("test.csv")], trains[0], trains) is not None


def test_words_of_names() -> None:
    assert words_of(Path("atis-2.train.w-intent.iob")) == {"atis", "2", "w", "intent"}
    assert words_of(Path("eng.testa")) == {"en"}
    assert not is_other_language(Path("no_label_test.csv"), Path("train_it_is.csv"))


def test_tests_that_go_equally_well_are_asked_for(tmp_path: Path) -> None:
    files = {"train.csv": rows(), "test_easy.csv": rows(100), "test_hard.csv": rows(200, count=60)}
    told = refusal(put(tmp_path, files))
    assert (
        "several files could be the test split of train.csv: test_hard.csv, test_easy.csv" in told
    )
    guess = starter.look(cured(tmp_path, told))
    assert {split: file[0].read_text() for split, file in guess.files.items()} == {
        "train": files["train.csv"],
        "test": files["test_hard.csv"],
    }
    # Of two files that could be, one without labels is none.
    put(tmp_path, {"test_hard.csv": "text\n" + text(3) + "\n"})
    assert starter.look(tmp_path).options["test"] == "test_easy.csv"


def test_words_of_several_tests_are_asked_for(tmp_path: Path) -> None:
    words = "Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n" * 8
    put(
        tmp_path, {"news_train.conll": words, "news_test.conll": words, "web_test.conll": words * 2}
    )
    assert starter.look(tmp_path).options["test"] == "news_test.conll"
    (tmp_path / "news_test.conll").rename(tmp_path / "talk_test.conll")
    told = refusal(tmp_path)
    assert "could be the test split of news_train.conll: web_test.conll, talk_test.conll" in told
    guess = starter.look(cured(tmp_path, told))
    assert guess.files["test"][0].read_text() == words * 2


@pytest.mark.parametrize("suffix", ["csv", "conll"])
def test_a_lone_test_of_another_language_is_refused(suffix: str, tmp_path: Path) -> None:
    words = "Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n" * 8
    content = rows() if suffix == "csv" else words
    put(tmp_path, {f"train.ar.{suffix}": content, f"task_en_test.{suffix}": content})
    told = refusal(tmp_path)
    assert f"task_en_test.{suffix} is of another language than train.ar.{suffix}" in told
    assert set(starter.look(cured(tmp_path, told)).files) == {"train"}


def test_one_family_of_files_is_parted_from_its_intents(tmp_path: Path) -> None:
    """JointSLU: files with and without intents, and a train that holds validation."""
    line = "BOS fly to york {n} EOS\tO O O B-city O {end}\n"
    intents = ("atis_flight", "atis_fare", "atis_city")

    def lines(start: int, count: int, *, has_intents: bool = True) -> str:
        ends = {n: intents[n % 3] if has_intents else "O" for n in range(start, start + count)}
        return "".join(line.format(n=n, end=end) for n, end in ends.items())

    names = {
        "atis.train": (0, 50),
        "atis-2.train": (0, 40),
        "atis-2.dev": (40, 10),
        "atis.test": (60, 20),
    }
    files = {f"{name}.iob": lines(*part, has_intents=False) for name, part in names.items()}
    files |= {f"{name}.w-intent.iob": lines(*part) for name, part in names.items()}
    told = refusal(put(tmp_path, files))
    assert "Left out: atis.train.w-intent.iob" in told
    made = cured(tmp_path, told)
    read = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in made.glob("*.jsonl")
    }
    assert {split: len(found) for split, found in read.items()} == {
        "train": 40,
        "validation": 10,
        "test": 20,
    }
    assert {row["intent"] for found in read.values() for row in found} == set(intents)
    held = {" ".join(row["tokens"]) for row in read["train"]}
    assert not held & {" ".join(row["tokens"]) for row in read["validation"]}


def test_tests_and_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    """SemEval-2018, task 3: the gold labels of test lay beside, and nobody was told."""
    files = {
        "datasets/train/irony-train-taskA.txt": rows(0).replace(",", "\t"),
        "datasets/train/irony-train-taskB.txt": rows(0, count=50).replace(",", "\t"),
        "datasets/goldtest_TaskA/irony_gold_test_taskA.txt": rows(200).replace(",", "\t"),
        "datasets/goldtest_TaskB/irony_gold_test_taskB.txt": rows(300).replace(",", "\t"),
        "datasets/input/irony_test_taskB.txt": "id\ttext\n"
        + "".join(f"{n}\t{text(n)}\n" for n in range(40)),
        "README.md": "x",
    }
    told = reasons(put(tmp_path, files))
    assert "read: irony-train-taskB.txt (train)" in told
    assert (
        "test rows are drawn, though files of test lie beside (datasets/goldtest_TaskB/irony_gold_test_taskB.txt"
        in told
    )
    for name in (
        "README.md",
        "datasets/goldtest_TaskA/",
        "datasets/goldtest_TaskB/",
        "datasets/train/irony-train-taskA.txt",
    ):
        assert name in told.partition("not read: ")[2]
    line = next(line for line in told.splitlines() if "lie beside" in line)
    guess = starter.look(cured(tmp_path, line))
    assert (
        guess.files["test"][0].read_text()
        == files["datasets/goldtest_TaskB/irony_gold_test_taskB.txt"]
    )


def put_images(folder: Path, *folders: str, each: int = 4) -> None:
    layouts.put(folder, images(*folders, each=each))


SPLITS = [
    f"study/dest/{split}/{name}" for split in ("train", "val", "test") for name in ("on", "off")
]


def test_a_set_in_splits_below_a_project_is_found(tmp_path: Path) -> None:
    put_images(tmp_path, *SPLITS)
    put_images(tmp_path, "app/static/images", "app/pages", each=3)
    guess = starter.look(tmp_path)
    assert guess.path == tmp_path / "study" / "dest"
    assert guess.counts == {"train": 8, "validation": 8, "test": 8}
    assert "beside study/dest/, not read: app (6 images" in "\n".join(guess.reasons)


def test_folders_of_the_same_classes_are_asked_for(tmp_path: Path) -> None:
    put_images(tmp_path, *SPLITS, "study/data/on", "study/data/off")
    put_images(tmp_path, "app/static", each=2)
    for folder in (tmp_path, tmp_path / "study"):
        told = refusal(folder)
        assert "several folders hold sets of images" in told
        assert "with the classes off, on" in told
        assert Path(told.rpartition("init ")[2]) == tmp_path / "study" / "dest"
    assert starter.look(tmp_path / "study" / "dest").counts["train"] == 8


def test_the_same_classes_at_other_places(tmp_path: Path) -> None:
    put_images(tmp_path, "a/data/on", "a/data/off", "b/old/data/on", "b/old/data/off")
    assert "several folders hold sets of images (a/data/, b/old/data/)" in refusal(tmp_path)


def test_a_few_pictures_of_a_project_are_no_class(tmp_path: Path) -> None:
    put_images(tmp_path, "pets/cat", "pets/dog", each=30)
    put_images(tmp_path, "app/static/icons", "app/docs", each=1)
    guess = starter.look(tmp_path)
    assert guess.path == tmp_path / "pets"
    assert "60 images in 2 folders (cat, dog)" in "\n".join(guess.reasons)


def test_patients_and_their_views_are_no_sets(tmp_path: Path) -> None:
    views = [
        f"{name}/p{n}/{view}"
        for name, n in (("ill", 1), ("ill", 2), ("well", 3))
        for view in ("left", "right")
    ]
    put_images(tmp_path, *views)
    assert "in 2 folders (ill, well)" in reasons(tmp_path)


def test_classes_that_hold_their_own_splits(tmp_path: Path) -> None:
    folders = [
        f"{name}/{split}/p{n}"
        for name in ("ill", "well")
        for split in ("train", "test")
        for n in (1, 2)
    ]
    put_images(tmp_path, *folders)
    assert starter.look(tmp_path).path == tmp_path
    assert "in 2 folders (ill, well)" in reasons(tmp_path)
