"""The report page and the model card: complete, escaped, deterministic, and readable without the optional parts."""

import base64
import copy
import hashlib
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from task_examples import IMAGE, TEXT

from limbeck.artifact import manifest
from limbeck.core.files import read_json, write_json
from limbeck.reports import arms, lost, numbers, page
from limbeck.reports import labels as labels_of_page
from limbeck.reports.card.text import MOST_LABELS, card
from limbeck.reports.drawing import charts, heatmap, overview
from limbeck.reports.drawing.axis import Axis

Json = dict[str, Any]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC"]
SUPPORTS = [38323, 1617, 1156, 1668, 257, 1661, 835, 702, 216]
RECIPE = """\
task: token-classification
data: {source: conll, path: data/conll2003}
teacher: {model: bert-base-cased, epochs: 3}
student: {from: teacher, surgery: drop_layers, layers: 3}
train: {epochs: 6, learning_rate: 2.0e-4, batch_tokens: 1024, threads: 2, seed: 0}
distill: {losses: {kl: {temperature: 2.0, weight: "linear(1.0, 0.5)"}, hidden: {weight: 1.0}}}
quantize: {when: train, weights: int8, activations: uint8, range: lsq, error_weight: 1.0e-4}
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 3, max_drop: 0.01, min_speedup: 4}
export: [onnx]
"""


LAYERS: list[Json] = [
    {"name": "bert.embeddings", "weights": "int8", "bytes": 23_440_896, "weight_db": 41.3, "input_db": None, "input_range": None, "output_db": 40.0,
     "nats": 2e-4, "overflow": 0.0, "int16": 0.0},
    {"name": "bert.encoder.layer.0.attention.self.query", "weights": "int4", "bytes": 147_456, "weight_db": 12.0, "input_db": 33.25,
     "input_range": [-3.0, 8.0], "output_db": 11.5, "nats": 2e-3, "overflow": 0.0, "int16": 0.1},
    {"name": "classifier", "weights": "int8", "bytes": 3456, "weight_db": None, "input_db": 44.0, "input_range": [-1.0, 2.0], "output_db": 18.5,
     "nats": 0.0, "overflow": 0.25, "int16": 1.7},
]  # fmt: skip
CHANGED: list[Json] = [
    {
        "row": 17,
        "label": "<b>O",
        "float": "O",
        "quantized": "B-PER",
        "layer": "classifier",
        "rule": "jump",
        "error": 0.0712,
    },
    {
        "row": 2904,
        "label": "B-PER",
        "float": "I-PER",
        "quantized": "O",
        "layer": "bert.embeddings",
        "rule": "threshold",
        "error": 0.1312,
    },
]


def wave(*numbers: float) -> float:
    """A repeatable stand-in for noise, in [-1, 1]."""
    return math.sin(sum((i + 1.7) * 12.9898 * number for i, number in enumerate(numbers)) * 78.233)


def per_label(quality: float) -> list[Json]:
    rows = []
    for i, (label, support) in enumerate(zip(LABELS[1:], SUPPORTS[1:], strict=True)):
        precision, recall = (
            quality - 0.012 * i + 0.01 * wave(i, quality),
            quality - 0.01 * i + 0.01 * wave(quality, i),
        )
        f1 = 2 * precision * recall / (precision + recall)
        rows.append(
            {"label": label, "precision": precision, "recall": recall, "f1": f1, "support": support}
        )
    for label in ("micro average", "macro average", "weighted average"):
        rows.append(
            {
                "label": label,
                "precision": quality,
                "recall": quality - 0.01,
                "f1": quality - 0.005,
                "support": 8112,
            }
        )
    return rows


def confusion(quality: float) -> Json:
    counts = []
    for i, support in enumerate(SUPPORTS):
        errors = [
            round(support * (1 - quality) * (0.02 if i == 0 else 0.25) * abs(wave(i, j, quality)))
            for j in range(len(LABELS))
        ]
        errors[i] = 0
        counts.append(
            [support - sum(errors) if j == i else count for j, count in enumerate(errors)]
        )
    return {"labels": LABELS, "counts": counts}


def an_arm(
    values: list[float],
    parameters: int,
    num_bytes: int,
    latency: Json | None,
    agreement: float | None,
) -> Json:
    mean = sum(values) / len(values)
    seeds = [
        {
            "seed": i,
            "metrics": {"f1": v, "accuracy": 0.9 + v / 10},
            "per_label": per_label(v),
            "confusion": confusion(v),
        }
        for i, v in enumerate(values)
    ]
    return {
        "seeds": seeds,
        "mean": {"f1": mean},
        "ci95": {"f1": [mean - 0.0061, mean + 0.0058]},
        "parameters": parameters,
        "bytes": num_bytes,
        "latency_ms": latency,
        "agreement": agreement,
    }


def milliseconds(p50: float, p99: float, runtime: str) -> Json:
    return {"p50": p50, "p99": p99, "threads": 2, "runtime": runtime}


def a_gain(name: str, arm: str, control: str, gain: float, ends: list[float]) -> Json:
    row = {"name": name, "arm": arm, "control": control}
    return row | {"gain": gain, "ci95": ends, "at_chance": False}


def a_report() -> Json:
    stages = [
        ("data", 1.2),
        ("teacher", 1483.0),
        ("label", 96.4),
        ("plain, seed 0", 402.0),
        ("kd, seed 0", 451.2),
        ("joint, seed 0", 512.7),
    ]
    return {
        "schema": 2,
        "name": "CoNLL-2003, BERT-base to three layers",
        "task": "token-classification",
        "metric": {"name": "f1", "higher_is_better": True},
        "arms": {
            "teacher": an_arm(
                [0.9013], 107726601, 430951424, milliseconds(21.8, 64.2, "pytorch"), 1.0
            ),
            "plain": an_arm(
                [0.8702, 0.8655, 0.8741],
                44069129,
                176303104,
                milliseconds(6.1, 17.9, "pytorch"),
                0.9712,
            ),
            "kd": an_arm(
                [0.8921, 0.8962, 0.8940],
                44069129,
                176303104,
                milliseconds(6.12, 18.3, "pytorch"),
                0.9874,
            ),
            "kd+ptq": an_arm(
                [0.8811, 0.8874, 0.8846],
                44069129,
                44701234,
                milliseconds(1.83, 5.14, "onnxruntime"),
                0.9808,
            ),
            "joint": an_arm(
                [0.8952, 0.8989, 0.8971],
                44069129,
                44623104,
                milliseconds(1.81, 5.02, "onnxruntime"),
                0.9881,
            ),
        },
        "verdict": {
            "kept": True,
            "drop": 0.0042,
            "drop_ci95": [0.0011, 0.0074],
            "max_drop": 0.01,
            "test": "score test of influences",
            "p_noninferior": 0.0012,
            "gains": [
                a_gain("teacher", "kd", "plain", 0.0242, [0.0193, 0.0287]),
                a_gain("joint", "joint", "kd+ptq", 0.0127, [-0.0004, 0.0253]),
            ],
            "speedup": 12.04,
            "compression": 9.66,
            "min_speedup": 4,
            "reasons": [],
        },
        "parity": [
            {
                "arm": arm,
                "seed": seed,
                "runtime": runtime,
                "rows": 3453,
                "agreement": agreement,
                "max_abs_logit_difference": 0.0123,
            }
            for arm in ("kd+ptq", "joint")
            for seed in range(2)
            for runtime, agreement in (("onnxruntime", 1.0), ("openvino", 0.9999784))
        ],
        "speed": {
            "arm": "joint",
            "p50": 1.81,
            "runtime": "onnxruntime",
            "formats": ["int8"],
            "twins": [
                {
                    "form": "float",
                    "p50": 1.5,
                    "ratio": 1.207,
                    "ratio_ci95": [1.15, 1.25],
                    "slower": True,
                    "runtime": "onnxruntime",
                }
            ],
        },
        "layers": {
            "arm": "joint",
            "rows": 256,
            "layers": LAYERS,
            "changed": {"rows": 2, "of": 3453, "threshold": 0.1, "first": CHANGED},
        },
        "stages": [
            {
                "name": name,
                "seconds": seconds,
                "peak_rss_mb": 1210.0 + 90 * i,
                "reused": name == "label",
            }
            for i, (name, seconds) in enumerate(stages)
        ],
        "recipe": RECIPE,
        "machine": {
            "cpu": "AMD EPYC 9R14",
            "cores": 2,
            "memory_gb": 15.3,
            "instructions": ["avx2", "avx512f", "avx512_vnni"],
        },
        "versions": {
            "limbeck": "0.1.0",
            "torch": "2.13.0",
            "onnxruntime": "1.32.0",
            "openvino": None,
        },
        "notes": ["validation: 1404 rows drawn from train (seeded, stratified)"],
    }


def loss_row(arm: str, seed: int, step: int) -> Json:
    decay = math.exp(-step / {"plain": 80, "kd": 90, "joint": 110}[arm])
    losses = {"task": 0.05 + 1.9 * decay * (1 + 0.15 * wave(step, seed))}
    if arm != "plain":
        losses |= {
            "kl": 0.08 + 1.1 * decay * (1 + 0.2 * wave(seed, step)),
            "hidden": 0.3 + 0.5 * decay * (1 + 0.1 * wave(step)),
        }
    if arm == "joint":
        losses["quantization"] = 2e-5 + 3e-3 * decay
    return {
        "arm": arm,
        "seed": seed,
        "step": step,
        "steps": 600,
        "epoch": step // 101,
        "losses": losses | {"total": sum(losses.values())},
    }


def some_curves() -> list[Json]:
    top = {"plain": 0.872, "kd": 0.896, "joint": 0.899}
    rows = [
        loss_row(arm, seed, step) for arm in top for seed in range(3) for step in range(4, 601, 4)
    ]
    for arm, best in top.items():
        for seed in range(3):
            for epoch in range(6):
                value = best * (1 - 0.35 * math.exp(-1.1 * (epoch + 1))) + 0.003 * wave(seed, epoch)
                rows.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "step": 100 * (epoch + 1),
                        "epoch": epoch,
                        "validation": {"f1": value},
                    }
                )
    return rows


class Text(HTMLParser):
    """The text of a page, and whether every tag is closed."""

    VOID = ("meta", "br", "img", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def ascii_signs(text: str) -> str:
    return (
        text.replace(numbers.MINUS, "-")
        .replace(numbers.TIMES, "x")
        .replace(numbers.UNKNOWN, "-")
        .replace("\N{NO-BREAK SPACE}", " ")
    )


def text_of(html: str) -> str:
    parsed = Text(html)
    assert parsed.open == []
    return ascii_signs(" ".join(" ".join(parsed.words).split()))


@pytest.fixture
def report() -> Json:
    return a_report()


def test_page_says_everything_a_reader_must_know(report: Json) -> None:
    text = text_of(page.render(report, some_curves()))
    assert "✓ Kept" in text
    assert (
        "The joint model scores F1 0.8971 against the teacher's 0.9013, a drop of 0.0042 (95 % interval 0.0011 to 0.0074; "
        "at most 0.0100 allowed); it is 12.0x faster and 9.66x smaller." in text
    )
    for expected in (
        "at least 4x asked",
        "44.6 MB",
        "9.66x smaller",
        "12.0x faster",
        "98.81 %",
        "107.7 M",
        "onnxruntime",
        "2 threads",
    ):
        assert expected in text
    assert "Yes. kd beats plain by 0.0242 F1 (95 % interval of the gain 0.0193 to 0.0287)." in text
    assert (
        "Not shown. joint against kd+ptq: +0.0127 F1, but the 95 % interval, -0.0004 to 0.0253, contains 0."
        in text
    )
    for heading in (
        "Arms",
        "Notes",
        "Parity",
        "Training",
        "Confusion",
        "Labels",
        "Stages",
        "Recipe",
        "Machine",
        "Versions",
    ):
        assert f" {heading} " in text
    assert "1404 rows drawn from train" in text
    assert "24 min 43 s" in text
    assert "avx2, avx512f, avx512_vnni" in text
    assert "when: train" in text


def test_layers_are_a_heat_map(report: Json) -> None:
    text = page.render(report, [])
    assert '<td class="warm" style="--o:0.712">12.0</td>' in text  # 0.75 * (50 - 12) / 40
    assert '<td class="warm" style="--o:0.000">exact</td>' in text
    assert '<td class="warm" style="--o:0.750">2.0e-03</td>' in text
    assert '<td class="warm" style="--o:0.500">2.0e-04</td>' in text  # a decade of three below
    assert '<td class="warm" style="--o:0.000">0.0e+00</td>' in text
    assert '<td class="warm" style="--o:0.375">25.00 %</td>' in text
    assert "weights of int7 cannot" in text
    assert "2 of 3\u202f453 test rows are answered otherwise than in float" in text
    assert "&lt;b&gt;O" in text and "<td>13.12" in text
    assert ">ms</th>" not in text and "<code>limbeck inspect</code> adds milliseconds" in text
    timed = {
        **report["layers"],
        "layers": [{**row, "milliseconds": 0.5 * i} for i, row in enumerate(LAYERS)],
        "rest_milliseconds": 1.0,
    }
    text = page.render({**report, "layers": timed}, [])
    assert ">ms</th>" in text and '<td class="warm" style="--o:0.375">0.5000</td>' in text
    assert "adds milliseconds" not in text


def test_a_format_that_is_slower_is_flagged(report: Json) -> None:
    assert (
        '<li class="bad">SLOWER than float32: int8 takes 1.810 ms, 1.21 [1.15, 1.25] times as long as'
        in page.render(report, [])
    )


def test_agreement_just_below_one_is_not_called_a_hundred(report: Json) -> None:
    text = text_of(page.render(report, []))
    assert "99.998 %" in text
    assert "100 %" in text


def test_page_needs_no_network_and_runs_its_own_script_alone(report: Json) -> None:
    html = page.render(report, some_curves())
    assert Text(html).tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert "script-src" not in html
    report["lost"] = what_was_lost()
    filtered = page.render(report, some_curves())
    (script,) = re.findall(r"<script>(.*?)</script>", filtered, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
        in filtered
    )
    # A label or a text cannot become a tag by what it says.
    assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write|eval", script)
    for text in (html, filtered):
        assert "http://" not in text
        assert "https://" not in text


def test_user_data_is_escaped(report: Json) -> None:
    bad = '<script>alert("1")</script>'
    report["name"] = report["recipe"] = report["stages"][0]["name"] = bad
    report["notes"] = report["verdict"]["reasons"] = [bad]
    report["machine"] = {bad: bad}
    for arm in report["arms"].values():
        for seed in arm["seeds"]:
            seed["confusion"]["labels"] = [bad, *LABELS[1:]]
            seed["per_label"][0]["label"] = bad
    html = page.render(
        report, [{"arm": "joint", "seed": 0, "step": 1, "epoch": 0, "losses": {bad: 1.0}}]
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 20


def what_was_lost() -> Json:
    kind = {"by": "shop", "value": "<b>north", "rows": 48, "teacher": 0.9, "student": 0.5}
    kind |= {"drop": 0.4, "ci95": [0.2, 0.6], "p": 1e-5, "p_holm": 1e-4}
    answer = {"given": "B-PER", "teacher": "B-PER", "student": "O"}
    doubted = {"row": 3, "given": "O", "likely": "B-PER", "teacher": 0.02, "student": 0.1}
    several = {"given": ["10", "<i>"], "teacher": ["10"], "student": []}
    return {
        "rows": 96,
        "lost": 3,
        "won": 1,
        "neither": 40,
        "slices": [kind],
        "slices_looked_at": 9,
        "slices_lost": 1,
        "changed": [
            {
                "row": 7,
                "right": "teacher",
                "text": "Ada <i> lives",
                "answers": [answer | {"word": "Ada"}, answer | {"word": "lives", "given": "9"}],
            },
            {"row": 8, "right": "student", "text": "first", "text_b": "second", "answers": [answer]},
            {"row": 9, "right": "neither", "file": "scan.png", "thumbnail": "iVBORw0KGgo=", "answers": [several]},
            {"row": 10, "right": "neither", "thumbnail": "/9j/4AAQ", "answers": [several]},
        ],
        "label_errors": {"count": 40, "first": [doubted | {"word": "Ada", "text": "Ada lives"}]},
    }  # fmt: skip


def test_the_page_tells_what_was_lost(report: Json) -> None:
    report["lost"] = what_was_lost()
    html = page.render(report, [])
    assert "<b>north" not in html and "<i> lives" not in html
    text = text_of(html)
    assert "Of 96 test rows the teacher alone has 3 right, and the student alone 1." in text
    assert (
        "1 of 3 that the teacher alone has right; 1 of 1 that the student alone has right; "
        "2 of 40 that neither has right" in text
    )
    assert "Ada: B-PER" in text and "Ada: O" in text and "lives: 9" in text
    assert "first second" in text and "scan.png" in text and "10, <i>" in text
    assert "1 of 40: look at these first" in text
    assert "changed_answers.csv" in text
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in html
    assert 'src="data:image/jpeg;base64,/9j/4AAQ"' in html
    # Of numbers no row is right, none can be doubted, and no single one is looked for.
    met = report["lost"] | {"won": None, "neither": None, "slices": [], "slices_looked_at": 0}
    met |= {"changed": met["changed"][1:2], "label_errors": {"count": 0, "first": []}}
    html = page.render(report | {"lost": met}, [])
    assert "3 are met worse than by the teacher" in text_of(html)
    assert "1 that the student is nearer to" in text_of(html)
    assert 'name="right"' in html and 'name="given"' not in html


def test_messages_have_code_where_they_have_backticks(report: Json) -> None:
    lines = [f"`arm-{i}` never answers `<b>`" for i in range(40)]
    report["verdict"] |= {"kept": False, "reasons": ["`joint` is <weak>"], "notes": lines}
    report["notes"] = ["a lone ` stays <here>"]
    report["verdict"]["p_noninferior"] = 0.0
    html = page.render(report, [])
    assert "<li><code>joint</code> is &lt;weak&gt;</li>" in html
    assert "<li><code>arm-39</code> never answers <code>&lt;b&gt;</code></li>" in html
    assert "<li>a lone ` stays &lt;here&gt;</li>" in html
    # A note for every label would hide the page.
    assert "<summary>32 more</summary>" in html
    assert "test of non-inferiority: p < 0.0001." in text_of(html)


def test_changed_rows_are_found_by_their_names() -> None:
    table = lost.changed(what_was_lost())
    # Numbers come first, by their value.
    assert table is not None
    assert table["names"] == {
        "given": ["9", "10", "<i>", "B-PER"],
        "teacher": ["10", "B-PER"],
        "student": ["O", "none"],
    }
    units = [row["units"] for row in table["rows"]]
    assert units == ["3:1:0 0:1:0", "3:1:0", "1,2:0:1", "1,2:0:1"]
    assert table["right"] == ["teacher", "student", "neither"]
    assert lost.changed(what_was_lost() | {"changed": []}) is None


def test_reports_that_name_lost_rows_alone_are_read(report: Json) -> None:
    found = what_was_lost()
    del found["changed"], found["neither"]
    row = {"row": 8, "text": "first", "answers": [{"given": "a", "teacher": "a", "student": "b"}]}
    report["lost"] = found | {"worst": [row]}
    text = text_of(page.render(report, []))
    assert "Rows that are answered otherwise: 1 of 3 that the teacher alone has right " in text
    # Nor did their runs write a file of all.
    assert "changed_answers.csv" not in text


def test_same_input_gives_the_same_bytes_and_leaves_it_alone(report: Json) -> None:
    curves = some_curves()
    before = copy.deepcopy((report, curves))
    assert page.render(report, curves) == page.render(*copy.deepcopy(before))
    assert (report, curves) == before


def test_optional_parts_may_be_missing(report: Json) -> None:
    report["verdict"] = None
    report["parity"] = []
    del report["notes"], report["recipe"], report["name"], report["speed"], report["layers"]
    for arm in report["arms"].values():
        arm["agreement"] = arm["latency_ms"] = None
        arm["seeds"] = [{"seed": seed["seed"], "metrics": seed["metrics"]} for seed in arm["seeds"]]
    text = text_of(page.render(report, []))
    assert (
        "No verdict was asked for: this run compared no arms. The joint model scores F1 0.8971."
        in text
    )
    for absent in (
        "Kept",
        "Parity",
        "Training",
        "Confusion",
        "Labels",
        "Notes",
        "Recipe",
        "Did distillation",
    ):
        assert f" {absent} " not in text


def test_parity_says_whether_it_holds(report: Json) -> None:
    report["parity"][0] |= {"flips": 61, "units": 46435, "holds": False}
    report["parity"][1] |= {"flips": 2, "units": 46435, "holds": True}
    text = text_of(page.render(report, []))
    assert "61 of 46 435 0.0123 ✕ fails" in text
    assert "2 of 46 435 0.0123 holds" in text


def test_many_reused_stages_are_folded(report: Json) -> None:
    report["stages"] += [
        {"name": f"again {i}", "seconds": 0.1, "peak_rss_mb": 900.0, "reused": True}
        for i in range(30)
    ]
    html = page.render(report, [])
    text = text_of(html)
    assert "31 stages reused from the cache" in text
    assert text.index("joint, seed 0") < text.index("Total 49 min 09 s") < text.index("again 29")


def test_the_judged_arm_is_found_in_any_order(report: Json) -> None:
    report["arms"] = dict(reversed(report["arms"].items()))
    assert "The joint model scores F1 0.8971" in text_of(page.render(report, []))


def test_failed_verdict_gives_its_reasons(report: Json) -> None:
    report["verdict"] |= {
        "kept": False,
        "speedup": 0.8,
        "reasons": ["0.8x is below the 4x that were asked"],
    }
    report["verdict"]["gains"] = [
        a_gain("joint", "joint", "kd+ptq", -0.02, [-0.03, -0.01]),
        a_gain("answers", "kd", "cut", 0.3, [0.2, 0.4]) | {"at_chance": True},
    ]
    text = text_of(page.render(report, []))
    assert "✕ Not kept" in text
    assert "it is 1.25x slower and 9.66x smaller." in text
    assert "0.8x is below the 4x that were asked" in text
    assert "No, it hurt. joint is worse than kd+ptq by 0.0200 F1" in text
    assert (
        "No claim. Neither kd nor cut is shown to be better than one answer for every row." in text
    )
    assert "Did the teacher help?" not in text


def test_a_metric_that_should_be_low_rises(report: Json) -> None:
    report["metric"]["higher_is_better"] = False
    assert "a rise of 0.0042" in text_of(page.render(report, []))
    report["verdict"] |= {"drop": -0.001, "drop_ci95": [-0.002, 0.0]}
    assert "a fall of 0.0010 (95 % interval of the rise -0.0020 to 0.0000" in text_of(
        page.render(report, [])
    )


def test_slower_arm_is_flagged(report: Json) -> None:
    report["arms"]["kd+ptq"]["latency_ms"]["p50"] = 40.0
    assert '<span class="sub bad">1.83x slower</span>' in ascii_signs(page.render(report, []))


def test_the_front_holds_what_nothing_beats() -> None:
    priced = [
        overview.Priced("teacher", 0.95, [0.94, 0.96], 400.0),
        overview.Priced("plain", 0.90, [], 100.0),
        overview.Priced("kd", 0.93, [], 100.0),
        overview.Priced("kd+ptq", 0.91, [], 25.0),
        overview.Priced("joint", 0.92, [], 25.0),
        overview.Priced("qat", 0.92, [], 30.0),
    ]
    assert [each.arm for each in overview.front(priced, True)] == ["joint", "kd", "teacher"]
    # Of an error less is better: the smallest model with the least of it is alone.
    assert [each.arm for each in overview.front(priced, False)] == ["kd+ptq", "plain"]
    drawn = overview.pareto("F1 and kB", "kB", priced, overview.front(priced, True))
    assert drawn["front"].count("H") == drawn["front"].count("V") == 2
    for point in drawn["points"]:
        assert charts.LEFT <= point["x"] <= charts.RIGHT
        assert charts.TOP <= point["y"] <= charts.BOTTOM


def test_steps_of_speed_end_where_the_whole_does() -> None:
    def told(ratio: float) -> Json:
        return {"ratio": ratio, "ratio_ci95": [0.9 * ratio, 1.1 * ratio]}

    product = {"runtime": told(4.0), "architecture": told(2.5), "integers": told(0.8)}
    *steps, whole = overview.waterfall({"product": product | {"total": told(8.0)}})
    assert steps[0]["left"] == whole["left"] == whole["one"]
    assert steps[1]["left"] == pytest.approx(steps[0]["left"] + steps[0]["width"], abs=0.11)
    # Integers that are slower step back, to where the whole ends.
    assert [step["is_slower"] for step in steps] == [False, False, True]
    assert steps[2]["left"] == pytest.approx(whole["left"] + whole["width"], abs=0.11)
    unknown = {"ratio": None, "ratio_ci95": None, "reason": "no teacher"}
    assert overview.waterfall({"product": product | {"total": unknown}}) == []
    assert overview.waterfall(None) == []


def test_layers_that_lose_most_are_ready_to_be_pasted(report: Json) -> None:
    def layer(name: str, nats: float | None, weights: str = "int8") -> Json:
        return {"name": name, "nats": nats, "weights": weights, "bytes": 1000}

    rows = [layer("a.b", 0.01), layer("c", 0.03), layer("d", -0.2), layer("e", 0.005, "float")]
    found = heatmap.kept_float([*rows, layer("f", None)])
    assert found is not None
    # One has three quarters of what is lost; its codes of 8 bits would be floats of 32.
    assert found["lines"] == 'quantize:\n  keep_float: ["c"]'
    assert found["share"] == pytest.approx(0.75)
    assert found["bytes"] == 3000
    assert heatmap.kept_float([layer("a", 4e-4), layer("b", 5e-4)]) is None
    page_of = page.render(report, [])
    assert "keep_float: [" in page_of
    assert "quantize:\n  keep_float" in page_of.replace("&#34;", '"')


def test_contents_lead_to_every_section(report: Json) -> None:
    text = page.render(report, [])
    linked = [part.split('"')[0] for part in text.split('href="#')[1:]]
    assert "arms" in linked
    assert "recipe" in linked
    for name in linked:
        assert text.count(f'id="{name}"') == 1
    assert "limbeck run recipe.yaml --out again" in text


def test_run_without_teacher(report: Json) -> None:
    report["arms"] = {"plain": report["arms"]["plain"]}
    report["verdict"] = None
    assert "The plain model scores F1 0.8699" in text_of(page.render(report, []))


def test_many_labels_are_cut_to_the_most_confused(report: Json) -> None:
    labels = [f"class-{i:02}" for i in range(60)]
    counts = [
        [100 if i == j else int(i >= 40 and j == (i + 1) % 60) * 5 for j in range(60)]
        for i in range(60)
    ]
    scores = [
        {"label": name, "precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 100}
        for name in labels
    ]
    for name, arm in report["arms"].items():
        # Two mistakes of the joint arm alone.
        own = copy.deepcopy(counts)
        if name == "joint":
            own[7][3], own[55][56] = 31, 30
        arm["seeds"][0]["confusion"] = {"labels": labels, "counts": own}
        f1 = 0.9 - 0.5 * (name == "joint")
        averages = arm["seeds"][0]["per_label"][-3:]
        arm["seeds"] = arm["seeds"][:1]
        arm["seeds"][0]["per_label"] = [*scores[:-1], scores[-1] | {"f1": f1}, *averages]
    html = page.render(report, [])
    text = text_of(html)
    # 1. The most frequent mistakes first, beside what the teacher made of them.
    mistakes = labels_of_page.mistakes([report["arms"]["teacher"], report["arms"]["joint"]])
    assert len(mistakes) == labels_of_page.MAX_MISTAKES
    assert [list(row.values()) for row in mistakes[:3]] == [
        ["class-07", "class-03", [0, 31], 131],
        ["class-55", "class-56", [5, 30], 130],
        ["class-40", "class-41", [5, 5], 105],
    ]
    assert "class-07 class-03 0 31 131" in text
    # 2. The matrices are of the same labels in every arm.
    assert text.count("the 24 most confused of 60 labels") == len(report["arms"])
    matrices = labels_of_page.confusions(report["arms"])
    assert len({tuple(matrix["labels"]) for matrix in matrices.values()}) == 1
    assert {"class-07", "class-55", "class-41"} < set(matrices["teacher"]["labels"])
    assert "class-20" not in matrices["teacher"]["labels"]
    # 3. The label that lost most comes first, and no label is left out.
    shown, folded = labels_of_page.worst_labels(
        labels_of_page.label_rows([report["arms"]["teacher"], report["arms"]["joint"]])
    )
    assert [row["label"] for row in shown[:2]] == ["class-59", "class-00"]
    assert [row["average"] for row in shown[-3:]] == [True] * 3
    assert (len(shown), len(folded)) == (27, 36)
    assert "The other 36 labels" in text


def test_contents_name_matrices_of_other_arms_alone(report: Json) -> None:
    for name in ("teacher", "joint"):
        for seed in report["arms"][name]["seeds"]:
            del seed["confusion"]
    html = page.render(report, [])
    assert 'href="#confusion"' in html and 'id="confusion"' in html
    for arm in report["arms"].values():
        arm["seeds"][0].pop("confusion", None)
    assert "#confusion" not in page.render(report, [])


def test_charts_are_valid_svg_within_their_frame(report: Json) -> None:
    html = page.render(report, some_curves())
    charts = [part.split("</svg>")[0] for part in html.split("<svg viewBox")[1:]]
    # Two of costs, the others of training.
    assert len(charts) == 8
    for part in charts:
        root = ElementTree.fromstring(f"<svg viewBox{part}</svg>")
        circles = [
            float(circle.get(axis, "nan"))
            for circle in root.iter("circle")
            for axis in ("cx", "cy")
        ]
        assert all(0 <= place <= 360 for place in circles)
        assert len([line for line in root.iter("line") if line.get("class") == "grid"]) >= 2


def test_odd_curves_are_drawn(report: Json) -> None:
    rows: list[Json] = [
        {
            "arm": "joint",
            "seed": 0,
            "step": 5,
            "epoch": 0,
            "losses": {"task": 0.0, "total": None, "kl": 1e9},
        }
    ]
    rows.append(
        {"arm": "joint", "seed": 0, "step": 5, "epoch": 0, "validation": {"f1": 1.0, "loss": 2.0}}
    )
    titles = [chart["title"] for chart in charts.charts(report, rows)]
    assert titles == ["task loss", "kl loss", "F1 on validation"]


def test_the_epoch_whose_weights_were_kept_has_a_ring(report: Json) -> None:
    rows: list[Json] = []
    for epoch, value in enumerate([0.5, 0.9, 0.7]):
        where = {"arm": "joint", "seed": 1, "epoch": epoch, "step": 5 * epoch + 5}
        rows.append(where | {"validation": {"f1": value}})
    kept = {"epoch": 1, "step": 10, "ended": "epochs"}
    rows.append({"arm": "joint", "seed": 1, "epoch": 2, "step": 15, "kept": kept})
    (chart,) = charts.charts(report, rows)
    (ring,) = chart["rings"]
    line = chart["lines"][0]
    assert [ring["x"], ring["y"]] == list(line["dots"][1])
    assert ring["color"] == line["color"]
    assert "a ring" in chart["x_title"]
    # One without such a point has none.
    (chart,) = charts.charts(report, rows[:-1])
    assert (chart["rings"], chart["x_title"]) == ([], "epoch")


def test_what_was_measured_beside_the_losses_is_drawn(report: Json) -> None:
    measures = {
        "agreement": 0.9,
        "student_entropy": 0.2,
        "teacher_entropy": 0.1,
        "pull.kl": 0.7,
        "cosine.task.kl": -0.1,
    }
    rows = [
        {
            "arm": "joint",
            "seed": 0,
            "step": step,
            "epoch": 0,
            "losses": {"kl": 1.0},
            "measures": measures,
        }
        for step in (1, 6)
    ]
    titles = [chart["title"] for chart in charts.charts(report, rows)]
    assert titles == [
        "kl loss",
        "agreement with the teacher",
        "student's entropy, nats",
        "kl: share of the gradient",
    ]


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (1e-6, 2.0), (0.86, 0.90), (-3.0, 5.0), (5.0, 5.0), (0.0, 0.0), (1.0, 90.0)],
)
def test_axis_has_a_few_ticks_inside(low: float, high: float) -> None:
    for log in (False, True) if low > 0 else (False,):
        axis = Axis.over([low, high], 0, 100, log=log)
        places = [place for place, _ in axis.ticks()]
        assert all(0 <= place <= 100 for place in places)
        assert 0 <= axis.at(low) <= axis.at(high) <= 100
        if not log or high / low > charts.LOG_SPAN:
            assert 2 <= len(places) <= 9


def test_steps_are_whole_and_long_curves_short() -> None:
    assert [text for _, text in Axis.over([1, 2, 3], 0, 9, whole=True).ticks()] == [
        "1",
        "2",
        "3",
    ]
    points = charts.over_seeds(
        [charts.Sample("joint", seed, step, float(seed)) for seed in (0, 1) for step in range(1000)]
    )
    assert len(points) <= charts.MAX_POINTS
    assert {(point.mean, point.low, point.high) for point in points} == {(0.5, 0.0, 1.0)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.size(999), "999 B"),
        (numbers.size(44_623_104), "44.6 MB"),
        (numbers.size(999_800), "1.00 MB"),
        (numbers.size(None), "-"),
        (numbers.count(3453), "3\u202f453"),
        (numbers.count(44_069_129), "44.1 M"),
        (numbers.duration(59.94), "59.9 s"),
        (numbers.duration(1483), "24 min 43 s"),
        (numbers.duration(7265), "2 h 01 min"),
        (numbers.percent(0.5), "50.00 %"),
        (numbers.percent(1.0), "100 %"),
        (numbers.short(0.0001234), "0.000123"),
        (numbers.short(9.999), "10.0"),
        (numbers.short(-1234.5), "-1234"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    assert ascii_signs(text) == expected


def test_unknown_schema_is_refused(report: Json) -> None:
    report["schema"] = 3
    with pytest.raises(ValueError, match="schema 3"):
        page.render(report, [])


@pytest.mark.parametrize(
    ("student", "question"),
    [
        ("{from: teacher, surgery: drop_layers}", "Did its answers help?"),
        ("{model: small_cnn}", "Did the teacher help?"),
    ],
)
def test_a_report_of_schema_1_claims_what_its_arms_had(
    report: Json, student: str, question: str
) -> None:
    """Its `plain` began with the tuned teacher's layers, where the student was cut from it."""
    del report["verdict"]["gains"]
    report |= {"schema": 1, "recipe": f"student: {student}"}
    report["verdict"] |= {"kd_gain": 0.02, "kd_gain_ci95": [0.01, 0.03], "joint_gain": None}
    text = text_of(page.render(report, []))
    assert f"{question} Yes. kd beats plain by 0.0200 F1" in text
    assert "Did joint training help?" not in text


def test_write(report: Json, tmp_path: Any) -> None:
    page.write(report, [], tmp_path)
    assert read_json(tmp_path / "report.json") == report
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page.render(report, [])


ORIGINS: Json = {
    "models": {
        "teacher": {"name": "bert-base-cased", "licence": "apache-2.0"},
        "student": {"name": "drop_layers of the teacher", "licence": None},
    },
    "data": {
        "name": "conll2003",
        "source": "conll",
        "rows": {"train": 12637, "validation": 1404, "test": 3453},
        "licence": None,
    },
    "formats": {"weights": "int8", "activations": "uint8"},
    "max_tokens": 96,
    "token_notes": ["test: 17 of 3,453 texts are longer than 96 tokens"],
}


def an_artifact(folder: Path, labels: list[str], preprocess_file: str = "tokenizer.json") -> Path:
    """What the card reads of one; nothing of it is opened."""
    folder.mkdir()
    is_text = preprocess_file == "tokenizer.json"
    (folder / preprocess_file).write_text(TEXT.preprocess if is_text else IMAGE.preprocess)
    write_json(folder / "labels.json", labels)
    task = "token-classification" if is_text else "image-classification"
    manifest.write(folder, task, manifest.graphs_of({"onnxruntime": "model.onnx"}))
    return folder


def test_a_card_tells_the_artifact_s_own_answers_and_what_it_was_made_of(
    report: Json, tmp_path: Path
) -> None:
    report["origins"] = ORIGINS
    folder = an_artifact(tmp_path / "a", ["O", "B-PER", "a`|```b"])
    text = card(report, folder)
    sentence = page.outcome.sentence(report)
    for expected in (
        "# CoNLL-2003, BERT-base to three layers\n",
        "A small model for token classification",
        f"**Kept.** {sentence}",
        # The first seed's, which is what is handed out, beside the mean and the teacher's.
        "| on the test split | this artifact | mean of 3 seeds | 95\u00a0% interval | teacher |",
        "| F1 | 0.8952 | 0.8971 | 0.8910 to 0.9029 | 0.9013 |",
        "- teacher: bert-base-cased, 107.7 M parameters, 431 MB; its licence: apache-2.0",
        "- student: drop_layers of the teacher, 44.1 M parameters, 44.6 MB; its licence: not told",
        "- data: conll2003 (read as `conll`), rows: train 12\u202f637, validation 1\u202f404, "
        "test 3\u202f453; its licence: not told",
        "- numbers: weights int8, activations uint8",
        "at most 96 tokens",
        "17 of 3,453 texts are longer",
        "1.810 ms (median; of 100 answers 99 within 5.020 ms), 2 threads, onnxruntime",
        "- machine: cpu AMD EPYC 9R14; cores 2",
        "- versions: limbeck 0.1.0; torch 2.13.0",
        "limbeck run FOLDER/recipe.yaml",
        "| `model.onnx` | the forward graph for onnxruntime |",
        # A label with backquotes does not end its block.
        '````json\n["O", "B-PER", "a`|```b"]\n````',
        "| B-PER | 0.89",
    ):
        assert expected in text, expected
    assert "micro average" not in text
    # Notes may show rows, and an artifact goes where the data do not.
    assert report["notes"][0] not in text
    assert text == card(copy.deepcopy(report), folder)
    assert "20" + "26" not in text  # no date


def test_a_card_says_what_is_weak(report: Json, tmp_path: Path) -> None:
    report["origins"] = ORIGINS
    for row in report["arms"]["joint"]["seeds"][0]["per_label"][:12]:
        row["support"] = 29
    report["calibration"] = {"shift": {"words": "labels are shared out otherwise"}}
    report["verdict"] |= {"kept": False, "reasons": ["the drop is 0.2"], "notes": ["few rows"]}
    report["layers"]["float_products"] = {f"layer.{place}": 1 for place in range(20)}
    text = card(report, an_artifact(tmp_path / "a", ["O"]))
    assert "fewer than 30 test rows, whose figures are uncertain: `B-PER`, `I-PER`" in text
    assert "The test split is not drawn as validation is: labels are shared out otherwise." in text
    assert "**Not kept.**" in text
    assert "- because the drop is 0.2\n- although few rows\n" in text
    assert "in float all the same `layer.0`" in text


def test_a_card_of_many_labels_leaves_their_tables_out(report: Json, tmp_path: Path) -> None:
    labels = [f"label-{place}" for place in range(MOST_LABELS + 1)]
    row = report["arms"]["joint"]["seeds"][0]["per_label"][0]
    rows = [row | {"label": label} for label in labels[:21]]
    report["arms"]["joint"]["seeds"][0]["per_label"] = rows
    text = card(report, an_artifact(tmp_path / "a", labels))
    assert "label-1" not in text
    report["arms"]["joint"]["seeds"][0]["per_label"] = rows[:20]
    assert "| label-1 | " in card(report, an_artifact(tmp_path / "b", labels))


def test_a_card_of_a_run_without_verdict_teacher_and_origins(report: Json, tmp_path: Path) -> None:
    """As of a report of an earlier version."""
    report |= {"verdict": None, "arms": {"joint": report["arms"]["joint"]}}
    report["from_python"] = {"models": ["mine"], "rows": True}
    folder = an_artifact(tmp_path / "a", ["cat", "dog", "eel"], "preprocess.json")
    text = card(report, folder)
    assert "No verdict was asked for" in text
    assert "`recipe.yaml` names the models and the data" in text
    assert "the model `mine` and rows that were handed over" in text
    assert "pip install numpy onnxruntime pillow" in text


def with_baseline(report: Json, level: float) -> Json:
    """A report with the row of a linear model, as `pipeline.describe` writes it."""
    metric = report["metric"]["name"]
    report["arms"]["baseline"] = {
        "what": "the most frequent tag of each word",
        "seeds": [{"seed": 0, "metrics": {metric: level}}],
        "mean": {metric: level},
        "ci95": {metric: [level - 0.01, level + 0.01]},
        "parameters": 31004,
        "bytes": None,
        "latency_ms": None,
        "agreement": 0.9,
    }
    lead = report["arms"]["joint"]["mean"][metric] - level
    words = "the most frequent tag of each word, which needs no network"
    report["verdict"]["bars"] = [
        {
            "name": "baseline",
            "words": words,
            "level": level,
            "lead": lead,
            "lead_ci95": [lead - 0.02, lead + 0.02],
            "is_beaten": lead > 0.02,
        }
    ]
    report["verdict"]["notes"] = ["`teacher` was trained for <9> steps"]
    return report


def test_a_linear_model_stands_in_the_table_without_bytes_and_milliseconds(report: Json) -> None:
    source = page.render(with_baseline(report, 0.55), some_curves())
    text = text_of(source)
    assert "the most frequent tag of each word" in text
    assert "0.5500" in text
    assert "teacher was trained for <9> steps" in text
    assert text.index("The joint model scores") < text.index("against the teacher")
    assert "A linear model is better" not in text
    assert 'class="key arm-6"' in source


def test_a_verdict_begins_with_a_linear_model_that_is_better(report: Json) -> None:
    text = text_of(page.render(with_baseline(report, 0.95), some_curves()))
    assert (
        "A linear model is better by 0.0529 (the most frequent tag of each word, which needs no "
        "network: 0.9500). The joint model scores" in text
    )
    # Of two that guess, one is always ahead: what the interval does not show is not said.
    close = text_of(page.render(with_baseline(report, 0.91), some_curves()))
    assert "A linear model does as well (the most frequent tag" in close
    assert "is better" not in close


def test_every_arm_has_a_colour_of_its_own(report: Json) -> None:
    """`joint` had none where seven arms stood before it: no line in the plot, no dot in the keys."""
    numbers = [arms.color_of(name) for name in arms.ARMS]
    assert len(set(numbers)) == len(numbers)
    style = page.render(report, [])
    for number in numbers:
        # In light and dark, and as a class.
        assert style.count(f"--arm-{number}: #") == 2
        assert f".arm-{number} {{ --arm: var(--arm-{number}); }}" in style
