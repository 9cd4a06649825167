"""Spans given by characters, a word a row, a tag for every word, and texts as files: what becomes of them, by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from limbeck.core import registry
from limbeck.sources import BadRow, Row
from limbeck.sources._cells.spans import placed_in, spans_of, words_and_tags
from limbeck.sources._cells.tags import as_iob2
from limbeck.tasks.metrics import spans


def read(source: str, path: Path, **keys: Any) -> dict[str, list[Row]]:
    return dict(registry.create("sources", source, {**keys, "path": str(path)}).read())


@pytest.mark.parametrize(
    ("text", "spans", "tagged"),
    [
        ("Ada Love sings.", [(0, 8, "PER")], "Ada/B-PER Love/I-PER sings/O ./O"),
        # The blanks around a name are no part of it.
        (" Ada ", [(0, 5, "PER")], "Ada/B-PER"),
        # Words are cut where a span begins or ends inside one.
        ("New-York's", [(4, 8, "LOC")], "New-/O York/B-LOC 's/O"),
        ("AdaLove", [(0, 3, "PER"), (3, 7, "PER")], "Ada/B-PER Love/B-PER"),
        ("我住北京", [(2, 4, "LOC")], "我/O 住/O 北/B-LOC 京/I-LOC"),
        ("no span", [], "no/O span/O"),
    ],
)
def test_spans_become_words_and_tags(text: str, spans: Any, tagged: str) -> None:
    words, tags = words_and_tags(text, placed_in(text, spans))
    assert " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True)) == tagged


@pytest.mark.parametrize(
    "cell",
    [
        [[0, 3, "PER"], [4, 8, "LOC"]],
        [[4, 8, "LOC"], [0, 3, "PER"]],
        {"entities": [(0, 3, "PER"), (4, 8, "LOC")]},
        [{"start": 0, "end": 3, "label": "PER"}, {"start": 4, "end": 8, "label": "LOC"}],
        [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3},
            {"id": 2, "label": "LOC", "start_offset": 4, "end_offset": 8},
        ],
        [
            {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]},
            {"start": 4, "end": 8, "text": "York", "labels": ["LOC"]},
        ],
        "[[0, 3, 'PER'], [4, 8, 'LOC']]",
    ],
)
def test_spans_as_tools_write_them(cell: Any) -> None:
    assert spans_of(cell) == [(0, 3, "PER"), (4, 8, "LOC")]
    assert spans_of(None) == spans_of([]) == []


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([[0, 99, "PER"]], r"\[0, 99\] is no part of a text of 8 characters"),
        ([[-1, 2, "PER"]], "is no part"),
        ([[2, 2, "PER"]], "is no part"),
        ([[3, 4, "PER"]], "holds no word"),
        ([[0, 8, "PER"], [4, 8, "LOC"]], "begins inside the span before it"),
        ([[0, "3", "PER"]], "is no span"),
        ([[0, 3]], "is no span"),
        ("Ada", "is no list of spans"),
        ([[0, 3, ""]], "no label"),
    ],
)
def test_a_bad_span_is_told_with_its_line(spans: Any, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text(json.dumps({"text": "Ada Love", "entities": spans}) + "\n")
    with pytest.raises(BadRow, match=rf"all.jsonl:1: entities: .*{problem}"):
        read("jsonl", path, spans="entities")


def test_equal_spans_are_one_and_unlabelled_texts_have_none(tmp_path: Path) -> None:
    spans = [[0, 3, "PER"], [0, 3, "PER"]]
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": "Ada sings", "label": spans}))
    (tmp_path / "unlabelled.jsonl").write_text(json.dumps({"text": "York"}))
    splits = read("jsonl", tmp_path, spans="label")
    assert splits == {
        "train": [{"words": ["Ada", "sings"], "tags": ["B-PER", "O"]}],
        "unlabelled": [{"words": ["York"], "tags": [None]}],
    }


def test_rows_of_one_word_are_joined_by_their_sentence(tmp_path: Path) -> None:
    text = (
        'Sentence #,Word,Tag\nSentence: 1,Ada,B-PER\n,Love,I-PER\n,",",O\nSentence: 2,York,B-LOC\n'
    )
    (tmp_path / "kaggle.csv").write_text(text)
    keys = {"sentence": "Sentence #", "words": "Word", "tags": "Tag"}
    expected = [
        {"words": ["Ada", "Love", ","], "tags": ["B-PER", "I-PER", "O"]},
        {"words": ["York"], "tags": ["B-LOC"]},
    ]
    assert read("csv", tmp_path / "kaggle.csv", **keys) == {"train": expected}
    (tmp_path / "ids.csv").write_text(
        'sid,word,tag\n1,Ada,B-PER\n1,Love,I-PER\n1,",",O\n2,York,B-LOC\n'
    )
    assert read("csv", tmp_path / "ids.csv", sentence="sid") == {"train": expected}
    (tmp_path / "bad.csv").write_text("sid,word,tag\n1,Ada,B-PER\n1,Love,I-LOC\n")
    with pytest.raises(BadRow, match=r"bad.csv:2: tag: `I-LOC` follows `B-PER`"):
        read("csv", tmp_path / "bad.csv", sentence="sid")
    with pytest.raises(ValueError, match=r"no column `s` \(data.sentence\)"):
        read("csv", tmp_path / "bad.csv", sentence="s")


def test_a_tag_for_every_word_is_a_span_of_its_own() -> None:
    assert as_iob2(["DET", "NOUN", "NOUN", "O"], "single") == ["DET", "NOUN", "NOUN", "O"]
    assert spans(["NOUN", "NOUN", "O", "B-PER", "DET"]) == [
        ("NOUN", 0, 1),
        ("NOUN", 1, 2),
        ("PER", 3, 4),
        ("DET", 4, 5),
    ]
    with pytest.raises(ValueError, match="goes with spans of several words"):
        as_iob2(["DET", "B-PER"], "single")
    with pytest.raises(ValueError, match="no tag"):
        as_iob2(["DET", ""], "single")


def test_types_side_by_side_are_one_span_and_bare_letters_are_of_one_type() -> None:
    tags = ["PER", "PER", "O", "PER", "LOC", "LOC"]
    assert as_iob2(tags, "io") == ["B-PER", "I-PER", "O", "B-PER", "B-LOC", "I-LOC"]
    assert as_iob2(["B", "I", "O", "B"]) == ["B-ENTITY", "I-ENTITY", "O", "B-ENTITY"]
    assert as_iob2(["B", "E", "S"], "bioes") == ["B-ENTITY", "I-ENTITY", "B-ENTITY"]
    with pytest.raises(ValueError, match="`I-ENTITY` follows `O`"):
        as_iob2(["O", "I"])


def test_conll_u_leaves_out_what_is_no_word(tmp_path: Path) -> None:
    lines = ["# text = I can't", "1\tI\t_\tPRON", "2-3\tcan't\t_\t_", "2\tca\t_\tAUX"]
    lines += ["3\tn't\t_\tPART", "3.1\tx\t_\tX", "", "1\t3-4\t_\tNUM", ""]
    (tmp_path / "a.conllu").write_text("\n".join(lines))
    keys = {"scheme": "single", "word_column": 2, "tag_column": 4, "comments": "#"}
    assert read("conll", tmp_path / "a.conllu", **keys)["train"] == [
        {"words": ["I", "ca", "n't"], "tags": ["PRON", "AUX", "PART"]},
        {"words": ["3-4"], "tags": ["NUM"]},
    ]


def test_texts_are_whole_files_of_classes(tmp_path: Path) -> None:
    files = {
        "aclImdb/train/pos/0_9.txt": "good\r\nfilm\n",
        "aclImdb/train/neg/1_1.txt": "bad",
        "aclImdb/train/unsup/2_0.txt": "who knows",
        "aclImdb/test/pos/3_8.txt": "fine",
        "aclImdb/train/urls.txt": "http",
        "aclImdb/README": "x",
        "aclImdb/train/pos/.hidden.txt": "x",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content.encode())
    expected = {
        "train": [{"label": "neg", "text": "bad"}, {"label": "pos", "text": "good\nfilm\n"}],
        "unlabelled": [{"label": None, "text": "who knows"}],
        "test": [{"label": "pos", "text": "fine"}],
    }
    assert read("text_folder", tmp_path / "aclImdb") == expected
    (tmp_path / "aclImdb/train/pos/4.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadRow, match=r"4.txt: byte 4: b'\\xe9' is not utf-8. .* data.encoding"):
        read("text_folder", tmp_path / "aclImdb")
    found = read("text_folder", tmp_path / "aclImdb", encoding="latin-1")
    assert {"label": "pos", "text": "café"} in found["train"]
    with pytest.raises(ValueError, match="there is no `klingon`"):
        read("text_folder", tmp_path / "aclImdb", encoding="klingon")
    (tmp_path / "aclImdb/test/pos/3_8.txt").rename(tmp_path / "aclImdb/test/3_8.txt")
    with pytest.raises(ValueError, match="the texts of test lie in no folder of a class"):
        read("text_folder", tmp_path / "aclImdb")
    with pytest.raises(ValueError, match="is no folder"):
        read("text_folder", tmp_path / "aclImdb" / "README")


def test_images_of_a_split_without_classes_are_left_out_and_told(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("train/cat/0.png", "train/dog/1.png", "test/2.png", "val/images/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    source = registry.create("sources", "image_folder", {"path": str(tmp_path)})
    assert {split: len(rows) for split, rows in source.read().items()} == {"train": 2}
    assert sorted(source.notes) == [
        "1 images of test lie in no folder of a class, and are not read",
        "1 images of validation lie in no folder of a class, and are not read",
    ]


def test_of_spans_inside_others_the_longest_is_kept(tmp_path: Path) -> None:
    """A disease inside an effect, an effect that goes on into a dose; what shares no word stays."""
    text = "Hair loss stopped after one pill"
    spans = [[0, 9, "ILL"], [0, 17, "EFFECT"], [10, 23, "TIME"], [24, 32, "DOSE"], [24, 32, "DOSE"]]
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": text, "label": spans}) + "\n")
    rows = read("jsonl", tmp_path, text="text", spans="label", overlaps="longest")["train"]
    (row,) = rows
    assert row["tags"] == ["B-EFFECT", "I-EFFECT", "I-EFFECT", "O", "B-DOSE", "I-DOSE"]
    with pytest.raises(ValueError, match=r"begins inside .*data\.overlaps: longest"):
        read("jsonl", tmp_path, text="text", spans="label")
    with pytest.raises(ValueError, match=r"data\.overlaps: `first` is none of refuse, longest"):
        read("jsonl", tmp_path, spans="label", overlaps="first")
