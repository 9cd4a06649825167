"""Tables with lines above their header: comments, a title, `sep=;`."""

from pathlib import Path

import pytest
from test_files_as_they_lie import read

from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, read_items
from limbeck.cli.first_recipe import look as starter

ROWS = "".join(f"good film {n},{'ab'[n % 2]}\n" for n in range(20))
TABLE = "text,label\n" + ROWS


@pytest.mark.parametrize(
    ("content", "skipped"),
    [
        (TABLE, 0),
        ("# source: a page, made by hand\n# in 2020\n" + TABLE, 2),
        ("# one, two\n" + TABLE, 1),  # as many cells as the table
        ("# columns: text, label\n" + TABLE, 1),
        ("Reviews of 2020\n" + TABLE, 1),
        ("Reviews of 2020,\n" + TABLE, 1),  # as a spreadsheet saves a title
        ("Reviews of 2020\n\n" + TABLE, 2),
        ("sep=;\n" + TABLE.replace(",", ";"), 1),
        ("# no header\n" + ROWS, 1),
        # What is a header or a row all the same.
        (TABLE.replace("text", "#1 String", 1), 0),
        (",text,label\n" + "".join(f"{n},{row}\n" for n, row in enumerate(ROWS.split())), 0),
        (TABLE.replace(",", ";").replace("good", "good, very"), 0),
        ('text,label\n"a\nb\nc",a\n' + ROWS, 0),
        (
            "text,label,name\n"
            + "".join(f"{n},{row},x,y\n" for n, row in enumerate(ROWS.split("\n"))),
            0,
        ),
    ],
)
def test_what_is_no_part_of_a_table_is_left_out(content: str, skipped: int, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(content)
    try:
        guess = starter.look(tmp_path / "train.csv")
    except ValueError:  # of a table that is none, as it was
        assert not skipped
        return
    assert guess.options.get("skip_lines", 0) == skipped
    if skipped:
        assert f"{tmp_path}/train.csv: lines above the table, left out: {skipped}" in guess.reasons
        keys = {key: value for key, value in guess.options.items() if key != "on_bad_row"}
        rows = read("csv", guess.path, **keys)["train"]
        assert (len(rows), rows[0]) == (20, {"text": "good film 0", "label": "a"})


@pytest.mark.parametrize(("source", "mark"), [("csv", ","), ("tsv", "\t")])
def test_lines_keep_their_numbers(source: str, mark: str, tmp_path: Path) -> None:
    """A bad row is named by its line of the file; what is wrong in a line that is skipped hurts nothing."""
    table = "text,label\ngood,a\n,b\n".replace(",", mark).encode()
    (tmp_path / f"train.{source}").write_bytes(b"caf\xe9 \0\nx\n" + table)
    with pytest.raises(ValueError, match=rf"train\.{source}:5: text: no text here"):
        read(source, tmp_path, skip_lines=2)
    with pytest.raises(ValueError, match=r"data\.skip_lines: -1 is no number of lines"):
        read(source, tmp_path, skip_lines=-1)


@pytest.mark.parametrize(
    ("recipe", "header"),
    [({"text": "text"}, "text,label\n"), ({"columns": ["text", "label"], "text": "text"}, "")],
)
def test_a_later_file_may_have_them_or_not(
    recipe: dict[str, object], header: str, tmp_path: Path
) -> None:
    reading = Reading(ColumnFinder("text", {}, {"source": "csv", "skip_lines": 2, **recipe}))
    for above in ("", "# a\n", "# a\n# b\n"):
        (tmp_path / "new.csv").write_text(f"{above}{header}one,x\ntwo,y\n")
        items = list(read_items(str(tmp_path / "new.csv"), None, reading))
        assert [item.raw for item in items] == ["one", "two"]
        assert items[0].line == above.count("\n") + bool(header) + 1
