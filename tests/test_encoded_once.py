"""Many texts are encoded once for all runs that read them."""

from pathlib import Path

import pytest
from encoders import save_encoder

from limbeck.core.cache.store import Store
from limbeck.pipeline import context
from limbeck.pipeline.context import RunContext
from limbeck.recipe.reading import parse


def test_many_texts_are_encoded_once_for_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        f"{word} {number},{label}"
        for number in range(40)
        for word, label in (("call", "phone"), ("rain", "weather"))
    ]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines]))
    model = save_encoder(
        tmp_path / "model", ["call", "rain", *map(str, range(40))], vocabulary=80, width=8, layers=1
    )
    recipe = parse(
        f"task: text-classification\ndata: {{source: csv, path: {tmp_path}}}\nstudent: {{model: {model}}}"
    )

    def encode() -> tuple[list[list[int]], list[dict[str, object]]]:
        bench = RunContext(recipe, Store())
        rows = bench.encode("train", bench.new_task(model))
        return [row.inputs["input_ids"].tolist() for row in rows], bench.store.records

    plain, records = encode()
    assert records == []
    monkeypatch.setattr(context, "PACKED_ROWS", 10)
    monkeypatch.setattr(context, "PACKED_CHUNK", 7)
    first, second = encode(), encode()
    assert first[0] == second[0] == plain
    assert [(record["name"], record["reused"]) for record in first[1] + second[1]] == [
        ("encode train", False),
        ("encode train", True),
    ]
