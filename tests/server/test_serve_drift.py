"""A server that says when its requests are no longer like validation."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from served import Served, install_runtime, serving, write_artifact

pytest.importorskip("granian")
pytestmark = pytest.mark.services

TEXTS = ("Ada", "Ada lives", "New York", "York", "lives in New York", "Ada lives in New York")


def test_a_shift_is_seen_within_500_requests_and_nothing_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_runtime(tmp_path / "site", monkeypatch)
    chance = random.Random(0)
    artifact = write_artifact(tmp_path / "model", 1.0, chance.choices(TEXTS, k=1000))
    with serving(tmp_path / "served", f"towns={artifact}", "--workers", "2") as served:
        ask(served, chance.choices(TEXTS, k=1500))
        time.sleep(1.5)
        assert not [each for each in served.events() if each["event"] == "drift"]
        # Every third text is about a person now.
        shifted = [
            text if chance.random() > 1 / 3 else "Ada" for text in chance.choices(TEXTS, k=500)
        ]
        ask(served, shifted)
        told = alarm_against_validation(served)
        assert told["model"] == "towns"
        figures = served.ask("GET", "/metrics").body.decode()
        assert 'limbeck_drift_alarms_total{model="towns"' in figures
        assert 'limbeck_drift_index{against="validation",model="towns",statistic="label"' in figures
        # Another statistic may have told it first, and this one tells it at a look of its own.
        until = time.monotonic() + 20
        while not chart_of_labels(served)["shifted"]:
            assert time.monotonic() < until, told
            time.sleep(0.1)


def test_what_was_told_of_a_shift_outlives_the_worker_that_saw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one took all requests so far as one window, alarmed anew, and began to count at 0."""
    install_runtime(tmp_path / "site", monkeypatch)
    chance = random.Random(0)
    artifact = write_artifact(tmp_path / "model", 1.0, chance.choices(TEXTS, k=1000))
    with serving(tmp_path / "served", f"towns={artifact}") as served:
        ask(served, ["Ada"] * 700)
        served.event("drift")
        before = alarms(served)
        os.kill(served.workers()[0], signal.SIGKILL)
        served.event("worker died")
        time.sleep(2)
        ask(served, ["Ada"] * 700)
        time.sleep(1)
        assert alarms(served) == before >= 1
        assert len([each for each in served.events() if each["event"] == "drift"]) == before


def alarms(served: Served) -> float:
    """How many alarms the metrics have."""
    lines = served.ask("GET", "/metrics").body.decode().splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("limbeck_drift_alarms_total"))


def chart_of_labels(served: Served) -> dict[str, Any]:
    """What the status has of the labels of a small window."""
    charts = served.ask("GET", "/status.json").json["drift"]["towns"]
    name = "label of 500 requests against validation"
    (label,) = (each for each in charts if each["name"] == name)
    return label


def alarm_against_validation(served: Served) -> dict[str, Any]:
    """The first alarm that is not about the requests before."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for each in served.events():
            if each["event"] == "drift" and "1,000 rows of validation" in each["why"]:
                return each
        time.sleep(0.05)
    raise AssertionError(served.log.read_text())


def ask(served: Served, texts: list[str]) -> None:
    """Requests of a hundred rows: each row counts."""
    for start in range(0, len(texts), 100):
        reply = served.ask("POST", "/predict", {"inputs": texts[start : start + 100]})
        assert reply.status == 200
        # Windows move as often as somebody looks.
        time.sleep(0.15)


def test_two_models_of_one_artifact_drift_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_runtime(tmp_path / "site", monkeypatch)
    chance = random.Random(0)
    artifact = write_artifact(tmp_path / "model", 1.0, chance.choices(TEXTS, k=1000))
    with serving(tmp_path / "served", f"towns={artifact}", f"idle={artifact}") as served:
        for _ in range(15):
            inputs = {"inputs": ["Ada"] * 50}
            assert served.ask("POST", "/predict/towns", inputs).status == 200
        told = served.event("drift")
        assert told["model"] == "towns"
        figures = served.ask("GET", "/metrics").body.decode()
        alarms = [
            line for line in figures.splitlines() if line.startswith("limbeck_drift_alarms_total")
        ]
        by_model = {line.split('model="')[1].split('"')[0]: line.split()[-1] for line in alarms}
        assert by_model["idle"] == "0.0" and float(by_model["towns"]) >= 1
