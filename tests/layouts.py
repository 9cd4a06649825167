"""Folders and files as people publish them, and what `limbeck init` is to make of each.

`tools/layouts.py` writes them as a table into the guide; `test_layouts.py` makes each, writes its recipe and checks it.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Files = dict[str, str | bytes]
WORDS = ("rain", "card", "train", "music", "money", "paris", "door", "light")


@dataclass(frozen=True)
class Layout:
    """`data`: the file below the folder that init is given; left out, the folder. `options`: some of the source's keys that the recipe must have. `unread`: files that are to be told as not read."""

    name: str
    files: Callable[[], Files]
    task: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    unread: tuple[str, ...] = ()


def put(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """The folder with files in it, by their names below it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def text(number: int) -> str:
    return f"please tell me about the {WORDS[number % 8]} number {number} of this town"


def rows(labels: str = "ab", start: int = 0, count: int = 40) -> list[tuple[str, str]]:
    return [(text(start + number), labels[number % len(labels)]) for number in range(count)]


def table(header: str, make: Callable[[int], str], start: int = 0, count: int = 40) -> str:
    lines = [header] if header else []
    return "\n".join([*lines, *(make(start + number) for number in range(count))]) + "\n"


def columns() -> dict[str, list[str]]:
    return {"text": [text(n) for n in range(40)], "label": ["ab"[n % 2] for n in range(40)]}


def csv(start: int = 0, count: int = 40) -> str:
    return table("text,label", lambda n: f"{text(n)},{'ab'[n % 2]}", start, count)


def pairs(first: str, second: str, label: str = "label", mark: str = "\t") -> Files:
    def make(number: int) -> str:
        return mark.join([str(number), text(number), text(number + 500), "01"[number % 2]])

    header = mark.join(["index", first, second, label])
    unlabelled = table(mark.join(["index", first, second]), lambda n: make(n)[:-2], 300)
    return {
        "train.tsv": table(header, make),
        "dev.tsv": table(header, make, 100),
        "test.tsv": unlabelled,
    }


def conll(start: int = 0, separator: str = " ", tags: tuple[str, ...] = ("B-PER", "I-PER")) -> str:
    lines = []
    for number in range(start, start + 24):
        lines += [f"Ada{number}{separator}{tags[0]}", f"Love{separator}{tags[1]}"]
        lines += [f"sings{separator}O", f"York{number}{separator}{tags[-1][0]}-LOC"]
        lines += [f".{separator}O", ""]
    return "\n".join(lines)


def iob2(start: int = 0) -> str:
    return conll(start).replace("I-LOC", "B-LOC")


def tagged(words: str, tags: str, names: list[str] | None = None, start: int = 0) -> str:
    lines = []
    for number in range(start, start + 30):
        found: list[Any] = ["B-PER", "I-PER", "O"]
        if names:
            found = [names.index(tag) for tag in found]
        lines.append(
            json.dumps({"id": number, words: [f"Ada{number}", "Love", "sings"], tags: found})
        )
    return "\n".join(lines)


def objects(start: int = 0) -> list[dict[str, Any]]:
    return [{"text": a, "label": b} for a, b in rows(start=start)]


def packed(**files: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def png(number: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(*folders: str, each: int = 12) -> Files:
    found: Files = {}
    for number, folder in enumerate(folders):
        for index in range(each):
            found[f"{folder}/{index}.png"] = png(100 * number + index)
    return found


def shares(number: int) -> str:
    return f"{number},{text(number)},{number % 2},{number // 2 % 2},{number % 3 // 2}"


def prose(start: int = 0, count: int = 60) -> str:
    return (
        "\n".join(
            f"{text(n)}{' and of many others'[: 7 + n % 12]}." for n in range(start, start + count)
        )
        + "\n"
    )


def texts(*folders: str, suffix: str = ".txt", extra: str = "") -> Files:
    found: Files = {}
    for number, folder in enumerate(folders):
        for index in range(12):
            content = f"{text(100 * number + index)}{extra}\r\nA second line.\n"
            found[f"{folder}/{index}_7{suffix}"] = content.encode("latin-1")
    return found


def words_a_row(number: int) -> str:
    lines = ["Ada,NNP,B-per", "Löve,NNP,I-per", "sings,VBZ,O", '",",",",O']
    return "\n".join(
        f"{f'Sentence: {number}' if place == 0 else ''},{line}" for place, line in enumerate(lines)
    )


def conll_u(start: int = 0) -> str:
    lines = []
    for number in range(start, start + 20):
        lines += [f"# sent_id = {number}", "# text = I can't sing"]
        for place, word, tag in (
            ("1", f"I{number}", "PRON"),
            ("2-3", "can't", "_"),
            ("2", "ca", "AUX"),
            ("3", "n't", "PART"),
            ("3.1", "x", "X"),
            ("4", "sing", "VERB"),
        ):
            lines.append("\t".join([place, word, word, tag, *"_" * 6]))
        lines.append("")
    return "\n".join(lines) + "\n"


def spans(make: Callable[[int], dict[str, Any]], start: int = 0) -> str:
    return "\n".join(json.dumps(make(n)) for n in range(start, start + 30))


def doccano(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "text": f"Ada{number} Love lives in York.",
        "label": [
            [0, len(f"Ada{number} Love"), "PER"],
            [len(f"Ada{number} Love lives in "), len(f"Ada{number} Love lives in York"), "LOC"],
        ],
    }


def spacy(number: int) -> dict[str, Any]:
    return {"text": f"York has number {number}", "entities": [[0, 4, "LOC"]] if number % 5 else []}


def label_studio(number: int) -> dict[str, Any]:
    parts = [{"start": 0, "end": 4, "text": "York", "labels": ["LOC"]}]
    return {"text": f"York has number {number}", "id": number, "label": parts, "annotator": 1}


def idx(shape: tuple[int, ...], seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256 if len(shape) > 1 else 2, shape, np.uint8)
    return (
        bytes([0, 0, 8, len(shape)])
        + b"".join(n.to_bytes(4, "big") for n in shape)
        + values.tobytes()
    )


def npz(images: str = "train_images", labels: str = "train_labels") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    np.savez(file, **{images: pixels, labels: np.arange(40) % 2})
    return file.getvalue()


TEXT = "text-classification"
SEVERAL = "multi-label-classification"
TAGS = "token-classification"
SCORE = "text-regression"
PICTURES = "image-classification"
NAMES = ["O", "B-PER", "I-PER"]
PAIR = {"text": "sentence1", "text_b": "sentence2", "label": "label", "test": "dev.tsv"}

LAYOUTS = [
    Layout("TRAIN.csv, DEV.csv, TEST.csv", lambda: {"TRAIN.csv": csv(), "DEV.csv": csv(100), "TEST.csv": csv(200), "README.md": "x"}, TEXT, "csv", {"text": "text", "label": "label"}, unread=("README.md",)),
    Layout("train_10k.csv, test.csv", lambda: {"train_10k.csv": csv(), "test.csv": csv(200)}, TEXT, "csv"),
    Layout("train-00000-of-00002.csv, -00001-", lambda: {"train-00000-of-00002.csv": csv(), "train-00001-of-00002.csv": csv(50), "test-00000-of-00001.csv": csv(200)}, TEXT, "csv"),
    Layout("train.csv.gz, test.csv.gz", lambda: {"train.csv.gz": gzip.compress(csv().encode()), "test.csv.gz": gzip.compress(csv(200).encode())}, TEXT, "csv"),
    Layout("data.zip of train.csv and test.csv", lambda: {"data.zip": packed(train__csv=csv(), test__csv=csv(200))}, TEXT, "csv", data="data.zip"),
    Layout("a csv of carriage returns", lambda: {"all.csv": csv().replace("\n", "\r")}, TEXT, "csv", data="all.csv"),
    Layout("a csv in UTF-16", lambda: {"all.csv": csv().encode("utf-16")}, TEXT, "csv", data="all.csv"),
    Layout("a csv in Windows-1252", lambda: {"all.csv": csv().replace("please", "café").encode("cp1252")}, TEXT, "csv", {"encoding": "cp1252"}, data="all.csv"),
    Layout("a csv in Windows-1251 (Russian)", lambda: {"all.csv": csv().replace("please tell me", "скажите пожалуйста").encode("cp1251")}, TEXT, "csv", {"encoding": "cp1251"}, data="all.csv"),
    Layout("a csv in GBK (Chinese)", lambda: {"all.csv": csv().replace("please tell me about", "请告诉我这个城市的").encode("gbk")}, TEXT, "csv", {"encoding": "gb18030"}, data="all.csv"),
    Layout("posts.csv and posts_test.csv", lambda: {"posts.csv": csv(), "posts_test.csv": csv(90)}, TEXT, "csv", {"train": "posts.csv", "test": "posts_test.csv"}),
    Layout("a repository with data/v1/train.csv", lambda: {"data/v1/train.csv": csv(), "data/v1/test.csv": csv(90), "README.md": "x", "src/main.py": "x"}, TEXT, "csv", unread=("README.md", "src/")),
    Layout("a csv with comments above its header", lambda: {"all.csv": "# source: a web page\n# made in 2020, by hand\n" + csv()}, TEXT, "csv", {"skip_lines": 2}, data="all.csv"),
    Layout("a csv of semicolons", lambda: {"train.csv": csv().replace(",", ";"), "test.csv": csv(200).replace(",", ";")}, TEXT, "csv", {"delimiter": ";"}),
    Layout("a csv with an index and no name for it", lambda: {"train.csv": table(",text,label", lambda n: f"{n},{text(n)},{'ab'[n % 2]}")}, TEXT, "csv", {"text": "text", "label": "label"}),
    Layout("a csv with empty columns (v1, v2)", lambda: {"spam.csv": table("v1,v2,,,", lambda n: f"{'ab'[n % 2]},{text(n)},,,")}, TEXT, "csv", {"text": "v2", "label": "v1"}, data="spam.csv"),
    Layout("label and text between tabs, no header", lambda: {"SMSCollection": table("", lambda n: f"{('ham', 'spam')[n % 2]}\t{text(n)}")}, TEXT, "tsv", {"text": "column_2", "label": "column_1"}, data="SMSCollection"),
    Layout("a csv with a column `split`", lambda: {"all.csv": table("text,label,split", lambda n: f"{text(n)},{'ab'[n % 2]},{('train', 'train', 'train', 'test')[n // 2 % 4]}")}, TEXT, "csv", {"split": "split"}, data="all.csv"),
    Layout("GLUE: sentence1, sentence2, test.tsv without labels", lambda: pairs("sentence1", "sentence2"), TEXT, "tsv", PAIR, unread=("test.tsv",)),
    Layout("premise and hypothesis", lambda: pairs("premise", "hypothesis", "gold_label"), TEXT, "tsv", {"text": "premise", "text_b": "hypothesis", "label": "gold_label"}),
    Layout("question1 and question2", lambda: pairs("question1", "question2", "is_duplicate"), TEXT, "tsv", {"text_b": "question2", "label": "is_duplicate"}),
    Layout("sent_A and sent_B", lambda: pairs("sent_A", "sent_B"), TEXT, "tsv", {"text": "sent_A", "text_b": "sent_B"}),
    Layout("no header in train, another in test (CoLA)", lambda: {"train.tsv": table("", lambda n: f"src{n % 5}\t{n % 2}\t\t{text(n)}"), "dev.tsv": table("", lambda n: f"src{n % 5}\t{n % 2}\t\t{text(n)}", 100), "test.tsv": table("index\tsentence", lambda n: f"{n}\t{text(n)}", 200)}, TEXT, "tsv", {"text": "column_4", "label": "column_2", "test": "dev.tsv"}, unread=("test.tsv",)),
    Layout("test.csv without labels and no valid.csv", lambda: {"train.csv": csv(), "test.csv": table("text", text, 200)}, TEXT, "csv", {"unlabelled": "test.csv"}),
    Layout("test_labeled.tsv beside test.tsv", lambda: {**pairs("sentence1", "sentence2"), "test_labeled.tsv": pairs("sentence1", "sentence2")["dev.tsv"]}, TEXT, "tsv", {"test": "test_labeled.tsv"}, unread=("test.tsv",)),
    Layout("scores of pairs", lambda: {"train.csv": table("id,sentence1,sentence2,score", lambda n: f"{n},{text(n)},{text(n + 500)},{n % 9 / 2}")}, SCORE, "csv", {"text_b": "sentence2", "label": "score"}),
    Layout("labels between bars", lambda: {"movies.csv": table("movieId,title,genres", lambda n: f"{n},{text(n)},{('Drama', 'Drama|War', 'War|Comedy', 'Comedy')[n % 4]}"), "links.csv": table("movieId,imdbId", lambda n: f"{n},{n + 7000}", count=80)}, SEVERAL, "csv", {"label": "genres", "label_separator": "|"}, unread=("links.csv",)),
    Layout("a column of 0 and 1 for each label", lambda: {"train.csv": table("id,comment_text,toxic,rude,threat", shares), "test.csv": table("id,comment_text,toxic,rude,threat", shares, 200)}, SEVERAL, "csv", {"label_columns": ["toxic", "rude", "threat"]}),
    Layout("shares of annotators", lambda: {"train.csv": table("text,joy,anger", lambda n: f"{text(n)},{(0.25, 0.9)[n % 2]},{(0.75, 0.1)[n % 2]}")}, TEXT, "csv", {"label_columns": ["joy", "anger"]}),
    Layout("patients in a column", lambda: {"notes.csv": table("patient_id,text,label", lambda n: f"p{n // 4},{text(n)},{'ab'[n % 2]}")}, TEXT, "csv", {"group": "patient_id"}, data="notes.csv"),
    Layout("a survey: Timestamp, and questions for a header", lambda: {"answers.csv": table("Timestamp,What is your opinion of the product?,Overall satisfaction (1-5)", lambda n: f"2023/01/{n % 9 + 10} 3:15:{n} PM GMT+1,{text(n)},{n % 5 + 1}")}, TEXT, "csv", {"columns": None, "text": "What is your opinion of the product?", "label": "Overall satisfaction (1-5)"}, data="answers.csv"),
    Layout("one JSON array", lambda: {"all.json": json.dumps(objects(), indent=1)}, TEXT, "jsonl", data="all.json"),
    Layout("one JSON object of splits", lambda: {"all.json": json.dumps({"train": objects(), "test": objects(200)})}, TEXT, "jsonl", data="all.json"),
    Layout("one JSON object of lists (CLINC)", lambda: {"all.json": json.dumps({"train": rows(), "val": rows(start=100), "test": rows(start=200)})}, TEXT, "jsonl", {"text": "column_1", "label": "column_2"}, data="all.json"),
    Layout("JSON: a list for each column", lambda: {"all.json": json.dumps(columns(), indent=1)}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.json"),
    Layout("JSON of pandas: an object for each column (to_json)", lambda: {"all.json": json.dumps({name: dict(enumerate(cells)) for name, cells in columns().items()})}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.json"),
    Layout("JSON of pandas: columns, index, data (orient=split)", lambda: {"all.json": json.dumps({"columns": ["text", "label"], "index": [*range(40)], "data": rows()})}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.json"),
    Layout("JSON: rows by their ids", lambda: {"all.json": json.dumps({f"id-{n}": row for n, row in enumerate(objects())})}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.json"),
    Layout("JSON: texts by their label", lambda: {"all.json": json.dumps({name: [text(n) for n in range(start, start + 20)] for start, name in ((0, "spam"), (20, "ham"))})}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.json"),
    Layout("JSON: rows by their label (FewRel)", lambda: {"train_wiki.json": json.dumps({name: [{"tokens": text(n).split(), "h": ["a"]} for n in range(start, start + 20)] for start, name in ((0, "P931"), (20, "P140"))})}, TEXT, "jsonl", {"text": "tokens", "label": "label"}),
    Layout("JSON of Rasa: rasa_nlu_data, common_examples", lambda: {"nlu.json": json.dumps({"rasa_nlu_data": {"regex_features": [{"name": "zip", "pattern": "[0-9]{5}"}], "common_examples": [{"text": text(n), "intent": "ab"[n % 2]} for n in range(40)]}})}, TEXT, "jsonl", {"text": "text", "label": "intent"}),
    Layout("jsonl: the one label in a list (doccano)", lambda: {"all.jsonl": spans(lambda n: {"id": n, "text": text(n), "label": ["ab"[n % 2]], "Comments": []})}, TEXT, "jsonl", {"text": "text", "label": "label"}, data="all.jsonl"),
    Layout("jsonl: tokens and labels", lambda: {"train.jsonl": tagged("tokens", "labels"), "test.jsonl": tagged("tokens", "labels", start=90)}, TAGS, "jsonl", {"words": "tokens", "tags": "labels"}),
    Layout("jsonl: words and slots", lambda: {"train.jsonl": tagged("words", "slots")}, TAGS, "jsonl", {"words": "words", "tags": "slots"}),
    Layout("jsonl: ner_tags as numbers, labels.txt", lambda: {"train.jsonl": tagged("tokens", "ner_tags", NAMES), "labels.txt": "\n".join(NAMES)}, TAGS, "jsonl", {"label_names": NAMES}),
    Layout("eng.train, eng.testa, eng.testb (IOB1)", lambda: {"eng.train": conll(tags=("I-PER", "I-PER")), "eng.testa": conll(90, tags=("I-PER", "I-PER")), "eng.testb": conll(200, tags=("I-PER", "I-PER"))}, TAGS, "conll", {"scheme": "iob1"}),
    Layout("train.tsv, devel.tsv, test.tsv of words", lambda: {"train.tsv": iob2().replace(" ", "\t"), "devel.tsv": iob2(90).replace(" ", "\t"), "test.tsv": iob2(200).replace(" ", "\t")}, TAGS, "conll"),
    Layout("words with comments as wide as they (MultiCoNER)", lambda: {"en_train.conll": "\n".join(f"# id a{n} domain=en\nAda{n} _ _ B-PER\nsings _ _ O\n" for n in range(30))}, TAGS, "conll", {"comments": "#"}),
    Layout("labels of test in a file without texts", lambda: {"train.csv": table("id,comment_text,toxic,rude", lambda n: shares(n)[:-2]), "test.csv": table("id,comment_text", lambda n: f"{n},{text(n)}", 200), "test_labels.csv": table("id,toxic,rude", lambda n: f"{n},-1,-1", 200)}, SEVERAL, "csv", {"label_columns": ["toxic", "rude"], "test": None}, unread=("test.csv", "test_labels.csv")),
    Layout("train.iob2 alone", lambda: {"train.iob2": iob2()}, TAGS, "conll"),
    Layout("train.txt, dev.txt, test.txt of words", lambda: {"train.txt": iob2(), "dev.txt": iob2(90), "test.txt": iob2(200)}, TAGS, "conll"),
    Layout("words with numbers and comments (GermEval)", lambda: {"train.tsv": "\n".join(f"# {n}\n1\tAda{n}\tB-PER\tO\n2\tsings\tO\tO\n" for n in range(30))}, TAGS, "conll", {"comments": "#", "word_column": 2, "tag_column": 3}),
    Layout("Training/CLASS, Testing/CLASS", lambda: images("Training/cat", "Training/dog", "Testing/cat", "Testing/dog"), PICTURES, "image_folder"),
    Layout("Train, Val and Test in one folder", lambda: images("set/Train/cat", "set/Train/dog", "set/Val/cat", "set/Val/dog", "set/Test/cat", "set/Test/dog"), PICTURES, "image_folder"),
    Layout("CLASS/patient/x.png, hidden files", lambda: {**images(*(f"{name}/p{n}" for name in ("cat", "dog") for n in range(8)), each=3), "cat/.thumb.png": b"x", "__MACOSX/cat/._1.png": b"x"}, PICTURES, "image_folder"),
    Layout("CLASS/x.png beside a list", lambda: {**images("cat", "dog"), "labels.csv": "id,label\n1,cat\n", "cat/notes.txt": "x"}, PICTURES, "image_folder", unread=("cat/notes.txt", "labels.csv")),
    Layout("train-images.idx3-ubyte (a copy of MNIST)", lambda: {"train-images.idx3-ubyte": idx((40, 6, 6), 0), "train-labels.idx1-ubyte": idx((40,), 1), "t10k.txt": "x", "README.md": "x"}, PICTURES, "idx", unread=("README.md", "t10k.txt")),
    Layout("one .npz beside notes", lambda: {"set.npz": npz(), "README.md": "x"}, PICTURES, "npz", unread=("README.md",)),
    Layout("texts as files in class folders (20 Newsgroups)", lambda: texts("20news-bydate-train/alt.atheism", "20news-bydate-train/sci.med", "20news-bydate-test/alt.atheism", "20news-bydate-test/sci.med", suffix="", extra=" café"), TEXT, "text_folder", {"encoding": "cp1252"}),
    Layout("pos.txt, neg.txt, neu.txt: a text a line", lambda: {f"{name}.txt": prose() for name in ("pos", "neg", "neu")}, TEXT, "class_files", {"classes": ["neg", "neu", "pos"]}),
    Layout("rt-polarity.pos, rt-polarity.neg", lambda: {"rt-polarity.pos": prose(), "rt-polarity.neg": prose(90)}, TEXT, "class_files", {"classes": ["neg", "pos"]}),
    Layout("train/pos, train/neg, train/unsup (IMDb)", lambda: {**texts("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"), "imdb.vocab": "x", "README": "x", "train/urls_pos.txt": "x", "train/labeledBow.feat": "x"}, TEXT, "text_folder", unread=("README", "imdb.vocab", "train/labeledBow.feat", "train/urls_pos.txt")),
    Layout("train.txt and valid.txt of plain lines", lambda: {"train.txt": prose(), "valid.txt": prose(200, 20), "LICENSE.md": "x"}, "masked-lm", "text", unread=("LICENSE.md",)),
    Layout("wiki.train.tokens, wiki.valid.tokens (WikiText)", lambda: {f"wiki.{split}.tokens": prose(n, 40) for n, split in ((0, "train"), (100, "valid"), (200, "test"))}, "masked-lm", "text"),
    Layout("one corpus.txt", lambda: {"corpus.txt": prose()}, "masked-lm", "text", data="corpus.txt"),
    Layout("train.txt, val.txt, test.txt of text;label", lambda: {f"{split}.txt": table("", lambda n: f"{text(n)};{('joy', 'anger', 'fear')[n % 3]}", start) for start, split in ((0, "train"), (100, "val"), (200, "test"))}, TEXT, "csv", {"delimiter": ";", "train": "train.txt", "validation": "val.txt", "test": "test.txt", "text": "column_1", "label": "column_2"}),
    Layout("a word a row: Sentence #, Word, POS, Tag", lambda: {"ner_dataset.csv": table("Sentence #,Word,POS,Tag", words_a_row).encode("latin-1")}, TAGS, "csv", {"encoding": "cp1252", "sentence": "Sentence #", "words": "Word", "tags": "Tag"}, data="ner_dataset.csv"),
    Layout("a word a row: sentence_id, words, labels", lambda: {f"{split}.csv": table("sentence_id,words,labels", lambda n: f"{n // 3},w{n},{('B-PER', 'I-PER', 'O')[n % 3]}", start, 60) for start, split in ((0, "train"), (90, "test"))}, TAGS, "csv", {"sentence": "sentence_id", "words": "words", "tags": "labels"}),
    Layout("CoNLL-U beside its texts (Universal Dependencies)", lambda: {"en_x-ud-train.conllu": conll_u(), "en_x-ud-dev.conllu": conll_u(50), "en_x-ud-train.txt": "I can't sing. " * 9}, TAGS, "conll", {"scheme": "single", "word_column": 2, "tag_column": 4, "comments": "#", "train": "en_x-ud-train.conllu"}, unread=("en_x-ud-train.txt",)),
    Layout("a word and its part of speech a line", lambda: {"train.pos": "", "train.txt": "\n".join(f"The DT\ndog{n} NN\nsings VB\n" for n in range(30))}, TAGS, "conll", {"scheme": "single"}, unread=("train.pos",)),
    Layout("the tag before the word (MIT)", lambda: {"engtrain.bio": "\n".join(f"O\ttell\nB-Dish\tsoup{n}\nI-Dish\tof\n" for n in range(30))}, TAGS, "conll", {"word_column": 2, "tag_column": 1}),
    Layout("a tag that is not the last column", lambda: {"train.txt": "\n".join(f"Ada{n} NNP B-PER x\nLove NNP I-PER y\n. . O z\n" for n in range(30))}, TAGS, "conll", {"tag_column": 3}),
    Layout("jsonl: label of [start, end, name] (doccano)", lambda: {"all.jsonl": spans(doccano)}, TAGS, "jsonl", {"text": "text", "spans": "label"}, data="all.jsonl"),
    Layout("jsonl: entities of [start, end, name]", lambda: {"train.jsonl": spans(spacy), "dev.jsonl": spans(spacy, 50)}, TAGS, "jsonl", {"text": "text", "spans": "entities"}),
    Layout("JSON of [text, {entities}] (spaCy)", lambda: {"train.json": json.dumps([[spacy(n)["text"], {"entities": spacy(n)["entities"]}] for n in range(40)])}, TAGS, "jsonl", {"text": "column_1", "spans": "column_2"}),
    Layout("objects in each row (utterance.text, annotation.emotion)", lambda: {"train.json": json.dumps([{"id": n, "utterance": {"text": text(n)}, "annotation": {"emotion": "ab"[n % 2]}} for n in range(40)])}, TEXT, "jsonl", {"text": "utterance.text", "label": "annotation.emotion"}),
    Layout("spans: [15, 16, 17], text (toxic spans)", lambda: {"tsd_train.csv": table("spans,text", lambda n: f'"[0, 1, 2, 3, 4, 5]",{text(n)}'), "tsd_test.csv": table("spans,text", lambda n: f'"[]",{text(n)}', 90)}, TAGS, "csv", {"spans": "spans"}),
    Layout("JSON-MIN of Label Studio", lambda: {"export.json": json.dumps([label_studio(n) for n in range(40)])}, TAGS, "jsonl", {"text": "text", "spans": "label"}, data="export.json"),
    Layout("title and text behind a label, no header (AG News)", lambda: {"train.csv": table("", lambda n: f'"{n % 4 + 1}","{text(n)}","{text(n + 500)}"'), "test.csv": table("", lambda n: f'"{n % 4 + 1}","{text(n)}","{text(n + 500)}"', 100), "classes.txt": "a"}, TEXT, "csv", {"text": "column_2", "text_b": "column_3", "label": "column_1"}, unread=("classes.txt",)),
    Layout("user, date and text, no header (Sentiment140)", lambda: {"training.csv": table("", lambda n: f'"{n % 2 * 4}","{1467810369 + n}","Mon Apr {n % 9}","NO_QUERY","user{n}","{text(n)}"')}, TEXT, "csv", {"text": "column_6", "label": "column_1", "text_b": None}),
    Layout("scores of pairs between tabs, no header (STS)", lambda: {f"sts-{split}.csv": table("", lambda n: f"news\tMSR\t2012\t{n:04d}\t{n % 6}.{n % 4}00\t{text(n)}\t{text(n + 300)}", start) for start, split in ((0, "train"), (90, "dev"), (200, "test"))}, SCORE, "csv", {"delimiter": "\t", "text": "column_6", "text_b": "column_7", "label": "column_5"}),
    Layout("Chinese pairs, no header (LCQMC)", lambda: {f"{split}.tsv": table("", lambda n: f"第{n}个问题呢\t第{n + 1}个问题吗\t{n % 2}", start) for start, split in ((0, "train"), (90, "dev"))}, TEXT, "tsv", {"text": "column_1", "text_b": "column_2", "label": "column_3"}),
    Layout("label and text_a in Chinese (ChnSentiCorp)", lambda: {"train.tsv": table("label\ttext_a", lambda n: f"{n % 2}\t第{n}个酒店很好")}, TEXT, "tsv", {"text": "text_a", "label": "label"}),
    Layout("jsonl: gold_label and a parse (SNLI)", lambda: {f"snli_1.0_{split}.jsonl": spans(lambda n: {"annotator_labels": ["x"], "gold_label": ("neutral", "entailment")[n % 2], "pairID": str(n), "sentence1": text(n), "sentence1_parse": "(x)", "sentence2": text(n + 300)}, start) for start, split in ((0, "train"), (90, "dev"), (200, "test"))}, TEXT, "jsonl", {"text": "sentence1", "text_b": "sentence2", "label": "gold_label"}),
    Layout("jsonl: utt, intent and partition (MASSIVE)", lambda: {"en-US.jsonl": spans(lambda n: {"id": str(n), "partition": ("train", "train", "dev", "test")[n % 4], "scenario": "x", "intent": "abc"[n % 3], "utt": text(n)})}, TEXT, "jsonl", {"text": "utt", "label": "intent", "split": "partition"}, data="en-US.jsonl"),
    Layout("annotators' counts beside a class", lambda: {"labeled_data.csv": table(",count,hate_speech,neither,class,tweet", lambda n: f"{n},3,{n % 3},{3 - n % 3},{n % 3},{text(n)}"), "labeled_data.p": b"x"}, TEXT, "csv", {"text": "tweet", "label": "class"}, unread=("labeled_data.p",)),
    Layout("a sentence and a list of tags in a csv", lambda: {"ner.csv": table("Sentence #,Sentence,POS,Tag", lambda n: f"""Sentence: {n},Ada Love sings,"['NNP', 'NNP', 'VB']","['B-per', 'I-per', 'O']\"""")}, TAGS, "csv", {"words": "Sentence", "tags": "Tag"}, data="ner.csv"),
    Layout("lists of words and of tags under other names", lambda: {"train.csv": table("question,passage,seq_label", lambda n: f"""\"['who', 'sings', '?']\",\"['Ada', 'Love', 'sings', '{n}']\",\"['B', 'I', 'O', 'O']\"""")}, TAGS, "csv", {"words": "passage", "tags": "seq_label"}),
    Layout("a column for each annotator", lambda: {"train.csv": table("text,ann_1,ann_2,ann_3", lambda n: f"{text(n)},{'ab'[n % 2]},{'ab'[n % 2]},{'ab'[n % 3 % 2]}")}, TEXT, "csv", {"vote_columns": ["ann_1", "ann_2", "ann_3"]}),
    Layout("labels joined into one (MLMA)", lambda: {"train.csv": table("tweet,sentiment", lambda n: f"{text(n)},{('a', 'b', 'c', 'a_b', 'b_c', 'a_c', 'a_b_c')[n % 7]}")}, "multi-label-classification", "csv", {"label_separator": "_"}),
    Layout("spans without types, B and I (BioBERT)", lambda: {f"{split}.tsv": "\n".join(f"Ada{n}\tB\nLove\tI\nsings\tO\n" for n in range(30)) for split in ("train", "devel", "test")}, TAGS, "conll"),
    Layout("classes in train alone, images below (Tiny ImageNet)", lambda: {**images("train/n01/images", "train/n02/images"), "val/images/0.png": png(0), "val/val_annotations.txt": "0.png\tn01\n"}, PICTURES, "image_folder", unread=("val/images/0.png", "val/val_annotations.txt")),
    Layout("a sentiment beside its confidence and counts", lambda: {"Tweets.csv": table("tweet_id,airline_sentiment,airline_sentiment_confidence,name,retweet_count,text", lambda n: f"57{n},{('good', 'bad')[n % 2]},{(1.0, 0.6)[n % 2]},user{n},0,{text(n)}")}, TEXT, "csv", {"text": "text", "label": "airline_sentiment"}),
    Layout("a type for each word of a span (Few-NERD)", lambda: {f"{split}.txt": "\n".join(f"Ada{n}\tperson-actor\nLove\tperson-actor\nsings\tO\n" for n in range(30)) for split in ("train", "dev")}, TAGS, "conll", {"scheme": "io"}),
    Layout("a csv with spans in a list", lambda: {"train.csv": table("text,entities", lambda n: f"York has {n},\"[(0, 4, 'LOC')]\"")}, TAGS, "csv", {"text": "text", "spans": "entities"}),
    Layout("JSON of classes and annotations", lambda: {"train.json": json.dumps({"classes": ["LOC"], "annotations": [[spacy(n)["text"], {"entities": spacy(n)["entities"]}] for n in range(40)]})}, TAGS, "jsonl", {"text": "column_1", "spans": "column_2"}),
    Layout("files in a folder data (the Hub)", lambda: {"data/train-00000-of-00001.csv": csv(), "data/test-00000-of-00001.csv": csv(200), "README.md": "x"}, TEXT, "csv", unread=("README.md",)),
    Layout("x_train and y_train in an .npz (Keras)", lambda: {"mnist.npz": npz("x_train", "y_train")}, PICTURES, "npz", data="mnist.npz"),
    Layout("a class called test inside a split", lambda: images("train/test", "train/control", "valid/test", "valid/control"), PICTURES, "image_folder"),
]  # fmt: skip
