"""Texts that are not UTF-8: read as what they are where that is sure, and never as other letters without a word."""

import subprocess
from pathlib import Path

import pytest
from layouts import put
from test_files_as_they_lie import read

from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, read_items
from limbeck.cli.first_recipe import look as starter
from limbeck.core import registry
from limbeck.data.checks import misread
from limbeck.sources._encodings import checked_codec, judge

# Four rows of a shop's reviews in each, made up for this.
TEXTS = {
    "cp1251 koi8-u cp866 iso8859-5": [
        *("Сегодня мы заказали пиццу, и она приехала холодной.", "Не советую этот отель, было шумно."),
        *("Отличный телефон, батарея держится два дня!", "ДОСТАВКА задержалась на неделю."),
    ],
    "cp1253 iso8859-7": [
        *("Σήμερα παραγγείλαμε πίτσα και ήρθε κρύα.", "Δεν συνιστώ αυτό το ξενοδοχείο."),
        *("Πολύ καλό τηλέφωνο, κρατάει δύο μέρες!", "Η ταινία ήταν όμορφη."),
    ],
    "cp1254": [
        *("Bugün pizza sipariş ettik ve soğuk geldi.", "Bu oteli önermiyorum, çok gürültülüydü."),
        *("Harika bir telefon, pili iki gün dayanıyor!", "Çok güzel bir film, oyuncular başarılıydı."),
    ],
    "cp1256": [
        *("طلبنا اليوم بيتزا ووصلت باردة.", "لا أنصح بهذا الفندق لأن الغرفة كانت مزعجة."),
        *("هاتف رائع والبطارية تدوم يومين!", "الفيلم جميل والممثلون كانوا رائعين."),
    ],
    "cp1255": [
        *("הזמנו היום פיצה והיא הגיעה קרה.", "אני לא ממליץ על המלון הזה, החדר היה רועש."),
        *("טלפון מצוין, הסוללה מחזיקה יומיים!", "הסרט היה יפה."),
    ],
    "cp874": [
        *("วันนี้สั่งพิซซ่ามาแล้วเย็นหมดเลย", "ไม่แนะนำโรงแรมนี้ ห้องเสียงดังมาก"),
        *("โทรศัพท์ดีมาก แบตเตอรี่อยู่ได้สองวัน", "หนังสนุกดี"),
    ],
    "cp1250 iso8859-2": [
        *("Dziś zamówiliśmy pizzę i przyjechała zimna.", "Nie polecam tego hotelu, było głośno."),
        *("Świetny telefon, bateria trzyma dwa dni!", "Bardzo dobry film, aktorzy zagrali pięknie."),
    ],
    "gb18030": [
        *("今天我们点了披萨，送来的时候已经凉了。", "不推荐这家酒店，房间太吵了。"),
        *("手机很好，电池能用两天！", "电影很好看，演员演得非常好。"),
    ],
    "cp950": [
        *("今天我們點了披薩，送來的時候已經涼了。", "不推薦這家飯店，房間太吵了。"),
        *("手機很好，電池能用兩天！", "電影很好看，演員演得非常好。"),
    ],
    "cp932 euc_jp": [
        *("今日はピザを注文しましたが、冷めて届きました。", "このホテルはおすすめしません。"),
        *("とても良い電話です。電池が二日持ちます！", "映画は面白くて、俳優の演技も素晴らしい。"),
    ],
    "cp949": [
        *("오늘 피자를 시켰는데 다 식어서 왔어요.", "이 호텔은 추천하지 않아요."),
        *("정말 좋은 전화기입니다. 배터리가 이틀이나 가요!", "영화가 재미있고 배우들의 연기도 훌륭했어요."),
    ],
    "cp1257": [
        *("Šiandien užsisakėme picą ir ji atvyko šalta.", "Nerekomenduoju šio viešbučio, buvo triukšminga."),
        *("Puikus telefonas, baterija laiko dvi dienas!", "Labai gražus filmas, aktoriai vaidino puikiai."),
    ],
    "cp1252 mac_roman cp850": [
        *("Heute haben wir Pizza bestellt, und sie kam kalt an.", "Das Zimmer war zu laut für uns."),
        *("Großartiges Telefon, der Akku hält zwei Tage!", "Schöner Film, die Schauspieler waren überzeugend."),
    ],
    "cp1252": [
        *("Nous avons commandé une pizza, et elle est arrivée froide.", "La chambre était bruyante."),
        *("Très bon téléphone, la batterie tient deux journées !", "Le colis a été livré en retard, déçu."),
    ],
}  # fmt: skip
EACH = [(name, texts) for names, texts in TEXTS.items() for name in names.split()]
RUSSIAN, POLISH = TEXTS["cp1251 koi8-u cp866 iso8859-5"], TEXTS["cp1250 iso8859-2"]


def table(texts: list[str], times: int = 5) -> str:
    rows = [f"{text} {number},{'ab'[number % 2]}\n" for number in range(times) for text in texts]
    return "".join(["text,label\n", *(row.replace(", ", " ") for row in rows)])


@pytest.mark.parametrize(("encoding", "texts"), EACH)
def test_an_encoding_is_told_by_its_letters(
    encoding: str, texts: list[str], tmp_path: Path
) -> None:
    """Each file is read as it was written, and the recipe shows a part of it."""
    data = tmp_path / "reviews.csv"
    data.write_bytes(table(texts).encode(encoding))
    guess = starter.look(data)
    assert read("csv", data, encoding=guess.options["encoding"])["train"][0]["text"].startswith(
        texts[0].replace(", ", " ")
    )
    (told,) = [reason for reason in guess.reasons if "not UTF-8, read as" in reason]
    assert any(word in told for word in table(texts).split() if not word.isascii())


@pytest.mark.parametrize(("encoding", "texts"), EACH)
def test_one_row_is_judged_right_or_not_at_all(encoding: str, texts: list[str]) -> None:
    for text in texts:
        judgement = judge([text.encode(encoding)])
        if judgement.is_sure and not text.isascii():
            assert judgement.readings[0].text == text


def test_what_cannot_be_told_is_refused_with_the_choices(tmp_path: Path) -> None:
    """Three letters that are Russian or Greek ones, as it may be."""
    data = tmp_path / "my reviews.csv"
    data.write_bytes(b"text,label\n\xe5\xe4\xf1,a\n\xe5\xe4\xf1,b\n" * 4)
    with pytest.raises(
        ValueError,
        match=r"cannot be told what it is: .* or .*iconv -f cp1255 -t UTF-8 '.*/my reviews\.csv\.old' > '.*/my reviews\.csv'",
    ) as told:
        starter.look(data)
    assert str(told.value).startswith(f"{data}:2:1: not UTF-8")


def test_a_broken_line_leaves_utf_8_what_it_is(tmp_path: Path) -> None:
    """Of a UTF-8 file with one cut letter the others are no Windows-1252."""
    data = tmp_path / "train.csv"
    data.write_bytes(table(["Schöner Film", "für alle"]).encode() + b"caf\xe9,a\n")
    guess = starter.look(data)
    assert "encoding" not in guess.options
    assert guess.options["on_bad_row"] == "skip"
    assert any(
        "train.csv:12:4: 1 lines are not UTF-8, as the others are" in told for told in guess.reasons
    )


def test_splits_of_two_encodings_are_refused(tmp_path: Path) -> None:
    """One key reads all files, and the other's letters would be wrong."""
    (tmp_path / "train.csv").write_bytes(table(RUSSIAN).encode("cp1251"))
    (tmp_path / "test.csv").write_text(table(RUSSIAN), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"train.csv is cp1251, test.csv is UTF-8.*iconv -f cp1251 -t UTF-8"
    ) as told:
        starter.look(tmp_path)
    # The command works, and leaves the old file under a name that is not read.
    subprocess.run(str(told.value).partition("as UTF-8: ")[2], shell=True, check=True)
    assert "encoding" not in starter.look(tmp_path).options
    (tmp_path / "train.csv").write_bytes(table(RUSSIAN).encode("cp1251"))
    # ASCII is either.
    (tmp_path / "test.csv").write_text("text,label\nfine,a\nbad,b\n")
    assert starter.look(tmp_path).options["encoding"] == "cp1251"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_told(encoding: str, tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_bytes(table(["good film", "bad café"]).encode(encoding))
    guess = starter.look(data)
    assert guess.options["encoding"] == encoding
    assert read("csv", data, encoding=encoding)["train"][1]["text"] == "bad café 0"


def test_every_kind_of_text_has_its_encoding(tmp_path: Path) -> None:
    """Objects, words in columns, a text a file, plain lines: the recipe names the encoding, and the source reads it."""
    lines = [
        f'{{"text": "{text} {number}", "label": "{"ab"[number % 2]}"}}'
        for number in range(9)
        for text in RUSSIAN
    ]
    words = "\n\n".join(
        "\n".join(f"{word} {'B-PER' if place else 'O'}" for place, word in enumerate(text.split()))
        for text in RUSSIAN
    )
    made = {
        "jsonl": {"rows.jsonl": "\n".join(lines)},
        "conll": {"train.conll": words + "\n"},
        "text_folder": {
            f"{name}/{number}.txt": text for name in "ab" for number, text in enumerate(RUSSIAN)
        },
        "text": {"train.txt": "\n".join(RUSSIAN * 4)},
    }
    for source, files in made.items():
        encoded = {name: content.encode("cp1251") for name, content in files.items()}
        put(tmp_path / source, encoded)
        guess = starter.look(tmp_path / source)
        assert (guess.source, guess.options["encoding"]) == (source, "cp1251")
        rows = registry.create(
            "sources", source, {**guess.options, "path": str(guess.path)}
        ).read()["train"]
        assert "Сегодня" in str(rows)


def test_who_trains_on_windows_may_send_utf_8(tmp_path: Path) -> None:
    """A file that is whole in UTF-8 is read as that, whatever the recipe's encoding."""
    recipe = {"source": "jsonl", "encoding": "cp1251"}
    for name, encoding in (("a.json", "utf-8"), ("b.json", "cp1251")):
        (tmp_path / name).write_bytes('[{"text": "привет"},\n{"text": "пока"}]'.encode(encoding))
        reading = Reading(ColumnFinder("text", {}, recipe))
        assert [item.raw for item in read_items(str(tmp_path / name), None, reading)] == [
            "привет",
            "пока",
        ]
    conll = {"source": "conll", "encoding": "cp1252", "scheme": "iob2"}
    (tmp_path / "c.conll").write_text("Zoë B-PER\n", encoding="utf-8")
    (item,) = read_items(str(tmp_path / "c.conll"), None, Reading(ColumnFinder("words", {}, conll)))
    assert item.shown == ["Zoë"]
    (tmp_path / "d.txt").write_text("déjà vu", encoding="utf-8")
    texts = {"source": "text_folder", "encoding": "cp1252"}
    (item,) = read_items(str(tmp_path / "d.txt"), None, Reading(ColumnFinder("text", {}, texts)))
    assert item.raw == "déjà vu"


@pytest.mark.parametrize(
    ("texts", "written", "named", "right"),
    [
        (RUSSIAN, "cp1251", "cp1252", "cp1251"),
        (RUSSIAN, "cp1251", "latin-1", "cp1251"),
        (POLISH, "cp1250", "cp1252", "cp1250"),
        (RUSSIAN, "cp1251", "cp1251", None),
        (TEXTS["cp1252"], "cp1252", "cp1252", None),
        (TEXTS["cp1252"], "cp1252", "cp1250", "cp1252"),
        (["good film", "bad film"], "ascii", "cp1252", None),
    ],
)
def test_a_wrong_encoding_in_a_recipe_is_told(
    texts: list[str], written: str, named: str, right: str | None
) -> None:
    """Recipes that `limbeck init` wrote when all files were Windows-1252 to it."""
    read_as = [{"text": text.encode(written).decode(named)} for text in texts]
    told = misread(read_as, named)
    assert bool(told) == (right is not None)
    if right:
        assert told[0].startswith(f"warning: data.encoding: {named} (")
        assert f"reads as no language, and {right} ('" in told[0]
    assert misread(read_as, None) == []


@pytest.mark.parametrize("name", ["latin99", "base64", "rot13", "undefined", "a\0b"])
def test_a_codec_that_makes_no_text_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.encoding: there is no `.*` for texts. Take utf-8"):
        checked_codec("data.encoding", name)
    (tmp_path / "train.csv").write_text("text,label\nfine,a\n")
    with pytest.raises(ValueError, match=r"data.encoding: there is no"):
        read("csv", tmp_path, encoding=name)


def test_a_bad_row_names_the_encoding_that_reads_it(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(table(RUSSIAN).encode("koi8-r"))
    with pytest.raises(
        ValueError, match=r"train.csv:2:1: .* is not UTF-8. .*data.encoding: koi8-u \('Сегодня мы"
    ):
        read("csv", tmp_path)


@pytest.mark.parametrize("text", ["it’s a film", "“quoted” – words", "a 5 € café – it’s “good”", "one naïve view"])  # fmt: skip
@pytest.mark.parametrize("more", ["", " and so on for a hundred letters of plain ASCII" * 4])
def test_english_with_curved_quotes_is_windows_1252(text: str, more: str) -> None:
    """In Mac Roman the apostrophe is a letter of Spanish: `itís`."""
    content = table([text + more], 40).encode("cp1252")
    judgement = judge(content.splitlines(), len(content))
    assert judgement.is_sure
    assert judgement.readings[0].encoding == "cp1252"
