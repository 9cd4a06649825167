"""What annotation tools, chatbots and old treebanks write: `limbeck init` gives the command that makes rows of it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from layouts import images, png, put, text

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.recipe_text import Guess

RASA = """version: "3.1"
nlu:
- intent: greet
  examples: |
    - hey
    - hello there [Ada](name)
- synonym: hi
  examples: |
    - yo
- intent: book/table
  examples: |
    - a table for [two]{"entity": "n"} at [8](time)
    - see you
"""
# Of the second line in the file, whose first ends at character 24; of two pieces; of a relation.
ANNOTATED = "Ada Lovelace met Babbage\nIn Paris it rained.\n"
BRAT = "T1\tPER 0 12\tAda Lovelace\nT2\tLOC 28 33\tParis\nT3\tX 0 3;17 24\tAda Babbage\nR1\tMet Arg1:T1 Arg2:T1\n"


def answers(more: Mapping[str, object]) -> str:
    """Rows of Prodigy, of which every third was rejected."""
    rows = [
        {"text": text(n), "_input_hash": n, "answer": ("accept", "accept", "reject")[n % 3], **more}
        for n in range(9)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def typed(folder: Path) -> tuple[Guess, str]:
    """What is found once the command of the refusal was run, and the refusal."""
    with pytest.raises(ValueError, match="in that folder: ") as caught:
        starter.look(folder)
    line = str(caught.value).partition("in that folder: ")[2]
    making, _, giving = line.rpartition(" && ")
    subprocess.run(making, shell=True, check=True, cwd=folder)
    return starter.look(folder / giving.rpartition(" ")[2]), str(caught.value)


def first_rows(file: Path) -> list[object]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_examples_of_rasa(tmp_path: Path) -> None:
    put(tmp_path, {"nlu.yml": RASA, "domain.yml": "intents:\n- greet\n"})
    guess, told = typed(tmp_path)
    assert "nlu.yml: intents of Rasa" in told
    assert (guess.options["text"], guess.options["label"]) == ("text", "intent")
    assert first_rows(tmp_path / "rows.jsonl") == [
        {"intent": "greet", "text": "hey"},
        {"intent": "greet", "text": "hello there Ada"},
        {"intent": "book/table", "text": "a table for two at 8"},
        {"intent": "book/table", "text": "see you"},
    ]


def test_spans_of_brat(tmp_path: Path) -> None:
    put(tmp_path, {"1.txt": ANNOTATED, "1.ann": BRAT, "2.txt": "Nobody.\n", "2.ann": ""})
    guess, told = typed(tmp_path)
    assert "1.ann: spans of brat" in told
    assert guess.options["spans"] == "entities"
    assert first_rows(tmp_path / "rows.jsonl") == [
        {"text": "Ada Lovelace met Babbage", "entities": [[0, 12, "PER"]]},
        {"text": "In Paris it rained.", "entities": [[3, 8, "LOC"]]},
        {"text": "Nobody.", "entities": []},
    ]


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ({"label": "good"}, "good"),
        ({"options": [{"id": "a"}, {"id": "b"}], "accept": ["a"]}, ["a"]),
    ],
    ids=["labels", "choices"],
)
def test_rows_that_prodigy_s_user_rejected_are_left_out(
    more: Mapping[str, object], label: object, tmp_path: Path
) -> None:
    put(tmp_path, {"all.jsonl": answers(more) + answers({**more, "label": "bad", "accept": ["b"]})})
    guess, _ = typed(tmp_path)
    assert guess.task == "text-classification"
    rows = first_rows(tmp_path / "all-accepted.jsonl")
    assert len(rows) == 12
    assert rows[0] == {"text": text(0), "label": label}


def test_rejected_rows_without_their_hashes_are_left_out(tmp_path: Path) -> None:
    """Written once more, they were read with those that a person had rejected."""
    lines = answers({"label": "a"}) + answers({"label": "b"})
    put(tmp_path, {"all.jsonl": lines.replace("_input_hash", "number")})
    typed(tmp_path)
    assert len(first_rows(tmp_path / "all-accepted.jsonl")) == 12


def test_rows_that_were_all_accepted_are_read(tmp_path: Path) -> None:
    lines = answers({"label": "a"}) + answers({"label": "b"})
    put(tmp_path, {"train.jsonl": lines.replace("reject", "accept")})
    assert starter.look(tmp_path).options["label"] == "label"


def test_labels_behind_a_mark(tmp_path: Path) -> None:
    """Financial PhraseBank: `text .@label`, not UTF-8; a text may hold the mark, too."""
    lines = [
        f"Profit @ EUR {n} mn rose in the \xe9 period .@{('neutral', 'positive')[n % 2]}"
        for n in range(40)
    ]
    put(
        tmp_path,
        {
            f"Sentences_{name}.txt": "\n".join(lines).encode("latin-1")
            for name in ("50Agree", "AllAgree")
        },
    )
    guess, told = typed(tmp_path)
    assert "behind `@` each line ends with one of 2 words (neutral, positive)" in told
    assert guess.task == "text-classification"
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [
        "Sentences_50Agree.tsv",
        "Sentences_AllAgree.tsv",
    ]
    table = (tmp_path / "rows" / "Sentences_AllAgree.tsv").read_text("latin-1").splitlines()
    assert table[1] == "positive\tProfit @ EUR 1 mn rose in the \xe9 period ."


def test_trees_of_phrases(tmp_path: Path) -> None:
    """The Stanford Sentiment Treebank: a label was `(3`, and the text a tree."""
    trees = "".join(f"({n % 5} (2 It) ({n % 5} (2 's) (3 film{n})))\n" for n in range(40))
    put(tmp_path, {f"{split}.txt": trees for split in ("train", "dev", "test")})
    guess, _ = typed(tmp_path)
    assert sorted(guess.files) == ["test", "train", "validation"]
    assert (tmp_path / "rows" / "dev.tsv").read_text().splitlines()[3] == "3\tIt 's film3"


def listed(folder: Path) -> list[str]:
    """The lines of split.csv once the command of the refusal was run, without the first; the folder is looked at again."""
    with pytest.raises(ValueError, match="in that folder, ") as caught:
        starter.look(folder)
    subprocess.run(
        str(caught.value).partition("in that folder, ")[2],
        shell=True,
        check=True,
        cwd=folder,
    )
    assert starter.look(folder).task == "image-classification"
    return (folder / "split.csv").read_text().splitlines()[1:]


def test_images_whose_names_begin_with_a_class(tmp_path: Path) -> None:
    """Dogs vs. Cats, Oxford Pets: images of no class, such as those of test, are left out."""
    names = [f"train/{('cat', 'red_dog')[n % 2]}.{n}.png" for n in range(8)] + ["test1/1.png"]
    put(tmp_path, {name: png(n) for n, name in enumerate(names)})
    assert sorted(listed(tmp_path))[::4] == ["train/cat.0.png,cat", "train/red_dog.1.png,red_dog"]
    assert len((tmp_path / "split.csv").read_text().splitlines()) == 9


def test_parts_of_images_that_a_table_lists_are_no_classes(tmp_path: Path) -> None:
    """HAM10000 was learned as part 1 against part 2."""
    put(tmp_path, images("images_part_1", "images_part_2", each=6))
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    renamed = {
        f"images_part_{1 + n % 2}/ISIC_{n}.png": (tmp_path / name).read_bytes()
        for n, name in enumerate(names)
    }
    for name in names:
        (tmp_path / name).unlink()
    rows = "".join(f"ISIC_{n},{('nv', 'mel')[n // 6]}\n" for n in range(12))
    put(tmp_path, renamed | {"metadata.csv": f"image_id,dx\n{rows}"})
    lines = listed(tmp_path)
    assert (lines[0], lines[7], len(lines)) == (
        "images_part_1/ISIC_0.png,nv",
        "images_part_2/ISIC_7.png,mel",
        12,
    )


def test_numbered_folders_are_classes_where_no_table_says_otherwise(tmp_path: Path) -> None:
    files = images("class_1", "class_2", each=6)
    rows = "".join(f"{name},{Path(name).parent.name}\n" for name in files)
    put(tmp_path, {**files, "list.csv": f"file,label\n{rows}"})
    assert "2 folders (class_1, class_2)" in " ".join(starter.look(tmp_path).reasons)


def test_pixels_in_the_cells_of_a_column(tmp_path: Path) -> None:
    """FER-2013 was learned as texts of numbers."""
    rows = [
        f"{n % 3},{' '.join(str(n + k) for k in range(16))},{('Training', 'PublicTest')[n % 4 == 3]}"
        for n in range(24)
    ]
    put(tmp_path, {"fer2013.csv": "emotion,pixels,Usage\n" + "\n".join(rows) + "\n"})
    guess, told = typed(tmp_path)
    assert "`pixels` holds images of 4 x 4 pixels" in told
    assert guess.source == "npz"
    with np.load(tmp_path / "images.npz") as arrays:
        assert arrays["train_images"].shape == (18, 4, 4)
        assert arrays["val_images"][0].ravel().tolist() == list(range(3, 19))
        assert arrays["train_labels"].tolist()[:3] == ["0", "1", "2"]


def test_tables_that_hold_a_class_each_are_joined(tmp_path: Path) -> None:
    """Fake.csv and True.csv: which was fake, no column says."""
    put(
        tmp_path,
        {
            f"{name}.csv": "title,text\n" + "".join(f"t{n},{text(n)} {name}\n" for n in range(20))
            for name in ("Fake", "True")
        },
    )
    guess, told = typed(tmp_path)
    assert "tables of the same columns" in told
    assert guess.options["label"] == "label"
    assert (tmp_path / "rows/all.csv").read_text().splitlines()[21] == f"t0,{text(0)} True,True"


def test_the_validation_file_is_called_as_train_is(tmp_path: Path) -> None:
    """CoLA has in_domain_train, in_domain_dev and a larger out_of_domain_dev."""
    lines = "".join(f"gj04\t{n % 2}\t*\t{text(n)}\n" for n in range(30))
    put(
        tmp_path,
        {
            "in_domain_train.tsv": lines,
            "in_domain_dev.tsv": lines,
            "out_of_domain_dev.tsv": lines * 2,
        },
    )
    assert starter.look(tmp_path).options["validation"] == "in_domain_dev.tsv"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            [
                f"{form}/{name}/{n}.png"
                for form in ("color", "gray")
                for name in ("scab", "rot")
                for n in range(4)
            ],
            "several forms, or copies. Give the folder of one: limbeck init .*color",
        ),
        (
            [
                f"{folder}/{n}.png"
                for folder in ("no", "yes", "all/no", "all/yes")
                for n in range(4)
            ],
            "lie again in all/.* init .*all",
        ),
        (
            [
                f"{name}/{part}/{n}.png"
                for name in ("flu", "well")
                for part in ("images", "masks")
                for n in range(4)
            ],
            "beside their masks",
        ),
        (
            [
                f"{name}/a{n}{end}.png"
                for name in ("flu", "well")
                for end in ("", "_mask")
                for n in range(4)
            ],
            "beside their masks",
        ),
        (
            [f"{name}/{n}.png" for name in ("images", "masks") for n in range(4)],
            "beside their masks",
        ),
    ],
    ids=["PlantVillage", "copies", "COVID masks", "BUSI masks", "Carvana"],
)
def test_other_forms_of_the_same_images_are_no_classes(
    names: list[str], told: str, tmp_path: Path
) -> None:
    put(tmp_path, {name: png(n) for n, name in enumerate(names)})
    with pytest.raises(ValueError, match=told):
        starter.look(tmp_path)


def test_patients_of_the_same_numbers_in_every_class_are_groups(tmp_path: Path) -> None:
    put(tmp_path, images(*(f"{name}/p{n}" for name in ("flu", "well") for n in range(4))))
    assert "a folder below a class is a group" in " ".join(starter.look(tmp_path).reasons)


def test_a_split_within_itself(tmp_path: Path) -> None:
    """Intel's scenes: seg_train/seg_train/forest, and seg_pred without classes."""
    names = [
        f"seg_{split}/seg_{split}/{name}" for split in ("train", "test") for name in ("sea", "ice")
    ]
    put(tmp_path, {**images(*names, each=3), "seg_pred/seg_pred/1.png": png(1)})
    guess = starter.look(tmp_path)
    assert "2 folders (ice, sea)" in guess.reasons[0]
    assert "6 images (test), 6 images (train)" in " ".join(guess.reasons)


def test_what_a_contest_hands_out_as_a_form_is_no_table_of_labels(tmp_path: Path) -> None:
    """sample_submission.csv: one filler for all, or random labels, which were learned."""
    put(tmp_path, {f"pictures/{n}.png": png(n) for n in range(8)})
    rows = "".join(f"{n},{'ab'[n % 2]}\n" for n in range(8))
    put(
        tmp_path,
        {
            "trainLabels.csv": f"id,label\n{rows}",
            "sampleSubmission.csv": "id,label\n" + rows.replace("a", "b"),
        },
    )
    assert listed(tmp_path)[0] == "pictures/0.png,a"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("#FORMAT=WebAnno TSV 3.3\n\n#Text=Ada\n1-1\t0-3\tAda\tPER\n", "WebAnno or INCEpTION"),
        ("#begin document (bc/cctv); part 000\nbc 0 0 In IN *\n", "CoNLL-2012"),
        (
            "227508|t|Naloxone reverses\n227508|a|In rats\n227508\t0\t8\tNaloxone\tChemical\tD009270\n",
            "PubTator",
        ),
        (
            '1\t"The <e1>fire</e1> by <e2>heat</e2>."\nCause-Effect(e2,e1)\nComment:\n\n' * 9,
            "texts with <e1> and <e2>",
        ),
        ("From ada@x.org Mon Jan  1\nSubject: hi\n\ntext\n", "mbox"),
    ],
    ids=["WebAnno", "OntoNotes", "PubTator", "relations", "mbox"],
)
def test_formats_that_are_not_read_are_called_by_name(
    content: str, told: str, tmp_path: Path
) -> None:
    put(tmp_path, {"train.txt": content})
    with pytest.raises(ValueError, match=told):
        starter.look(tmp_path)


def test_columns_parted_by_several_letters(tmp_path: Path) -> None:
    """MovieLens, IMDb's genres."""
    put(
        tmp_path,
        {
            f"{split}_data.txt": "".join(
                f"{n} ::: {text(n)} ::: {'ab'[n % 2]}\n" for n in range(40)
            )
            for split in ("train", "test")
        },
    )
    guess, told = typed(tmp_path)
    assert "columns parted by `:::`" in told
    assert (guess.options["text"], guess.options["label"]) == ("column_2", "column_3")


def test_words_with_tags_under_names_of_no_split(tmp_path: Path) -> None:
    """JNLPBA's Genia4ERtask1.iob2 was learned as texts of one word."""
    words = "IL-2\tB-DNA\ngene\tI-DNA\nis\tO\n\n" * 20
    put(tmp_path, {"Genia4ERtask1.iob2": words, "Genia4EReval1.iob2": words})
    with pytest.raises(ValueError, match="none of which is called train"):
        starter.look(tmp_path)


@pytest.mark.parametrize(
    ("header", "text_b"),
    [
        ("anchor,target,score", "target"),
        ("query,product_title,esci_label", "product_title"),
        ("Title,Review Text,Rating", "Review Text"),
    ],
)
def test_both_texts_of_a_row_are_read(header: str, text_b: str, tmp_path: Path) -> None:
    rows = "".join(f"{text(n)},{text(n + 40)},{n % 3}\n" for n in range(40))
    put(tmp_path, {"train.csv": f"{header}\n{rows}"})
    assert starter.look(tmp_path).options["text_b"] == text_b


def test_lists_beside_a_claim_are_no_second_text(tmp_path: Path) -> None:
    """FEVER's evidence."""
    rows = [
        {"claim": text(n), "evidence": [[n, "x", "Ada", 0]], "label": "ab"[n % 2]}
        for n in range(40)
    ]
    put(tmp_path, {"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    assert starter.look(tmp_path).options.get("text_b") is None


def test_rows_without_a_text_are_left_out_as_those_without_a_label(tmp_path: Path) -> None:
    """The recipe was refused by `check`."""
    rows = "".join(f"{'' if n == 7 else text(n)},{n % 2}\n" for n in range(40))
    put(tmp_path, {"train.csv": f"text,label\n{rows}"})
    guess = starter.look(tmp_path)
    assert guess.options["on_bad_row"] == "skip"
    assert "1 of the first rows have no text" in " ".join(guess.reasons)


def test_objects_in_the_cells_of_a_csv_are_no_labels(tmp_path: Path) -> None:
    """TMDB's genres."""
    rows = "".join(f'{text(n)},"[{{""id"": {n % 3}, ""name"": ""Drama""}}]"\n' for n in range(40))
    put(tmp_path, {"movies.csv": f"overview,genres\n{rows}"})
    with pytest.raises(ValueError, match="`genres` holds objects"):
        starter.look(tmp_path)


def test_posts_that_are_called_submissions_are_data(tmp_path: Path) -> None:
    rows = "".join(f"{text(n)},{'ab'[n % 2]}\n" for n in range(40))
    put(tmp_path, {"reddit_submission_2020.csv": f"text,label\n{rows}"})
    assert starter.look(tmp_path).options["label"] == "label"
