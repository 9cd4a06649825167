"""The Open Inference Protocol of a running server, asked by Triton's own client."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made import install_products, write_model
from served import TEXT, Served, install_runtime, probability, serving, write_artifact

import limbeck
from limbeck.artifact import manifest
from limbeck.cli.main import exit_status
from limbeck.evaluation.decisions.decision import Decision

pytest.importorskip("granian")
pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        install_runtime(folder / "site", patch)
        artifact = write_artifact(folder / "model")
        with serving(folder / "own", f"towns={artifact}", "--workers", "2") as server:
            yield server


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_tritons_client_is_answered(
    served: Served, is_binary: bool, request: pytest.FixtureRequest
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    request.addfinalizer(client.close)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("towns") and not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "limbeck"
    metadata = client.get_model_metadata("towns")
    assert metadata["labels"] == ["place", "person"]
    texts = triton.InferInput("text", [2], "BYTES")
    texts.set_data_from_numpy(np.array([TEXT, "Ada"], object), binary_data=is_binary)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=is_binary)
        for name in ("label", "probabilities")
    ]
    (version, *_) = metadata["versions"]
    for named in ("", version):
        answer = client.infer(
            "towns", [texts], model_version=named, outputs=outputs, request_id="a"
        )
        labels = answer.as_numpy("label").tolist()
        # Of JSON the client makes texts, of binary tensors bytes.
        assert [str(each, "utf-8") if is_binary else each for each in labels] == ["place", "person"]
        found = answer.as_numpy("probabilities")
        assert found[0, 0] == pytest.approx(probability(), abs=1e-6)
        response = answer.get_response()
        assert (response["id"], response["model_version"]) == ("a", version)
    with pytest.raises(triton.InferenceServerException, match="no such version"):
        client.infer("towns", [texts], model_version="9")


def test_bad_requests_are_refused_with_a_sentence(served: Served) -> None:
    path = "/v2/models/towns/infer"
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Ada"]}
    good = served.ask("POST", path, {"inputs": [tensor]})
    assert good.status == 200
    answer = json.loads(good.body)
    assert {each["name"] for each in answer["outputs"]} >= {"label", "probabilities"}
    for wrong, status in (
        ({"inputs": [tensor | {"shape": [2]}]}, 400),
        ({"inputs": [tensor | {"shape": [-1]}]}, 400),
        ({"inputs": [tensor | {"datatype": "FP32"}]}, 400),
        ({"inputs": []}, 400),
        ({"inputs": [tensor], "outputs": [{"name": "nothing"}]}, 400),
        ({"inputs": [tensor | {"shape": [300], "data": ["a"] * 300}]}, 413),
    ):
        reply = served.ask("POST", path, wrong)
        assert reply.status == status and reply.json["error"]
    reply = served.ask("POST", path, b"{}x", inference_header_content_length="-1")
    assert reply.status == 400
    assert served.ask("POST", "/v2/models/other/infer", {"inputs": [tensor]}).status == 404
    assert served.ask("GET", "/v2/models/towns/versions/0/ready").status == 404


def test_a_client_that_has_the_address_alone_learns_what_it_reads(served: Served) -> None:
    told = served.ask("GET", "/predict").json
    assert (told["model"], told["reads"], told["task"]) == ("towns", "text", "text-classification")
    assert told["answers"] == ["label", "probability", "probabilities"]
    assert told["labels"] == ["place", "person"]
    assert served.ask("GET", "/models.json").json["models"] == [told]


def test_predict_asks_a_server_as_it_asks_an_artifact(
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "rows.csv"
    # A column that is called as a part of the answer comes back, too.
    table.write_text("id,text,model\n7,Ada lives in New York,x\n8,,y\n9,Ada,z\n")
    url = f"http://127.0.0.1:{served.port}/predict/towns"
    assert exit_status(["predict", "--url", url, str(table)]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("label") for each in told] == ["place", None, "person"]
    assert [each.get("id") for each in told] == ["7", None, "9"]
    assert "error" in told[1] and told[0]["model"] == "towns"
    assert told[0]["given_model"] == "x"
    out = tmp_path / "answers.csv"
    assert exit_status(["predict", "--url", url, str(table), "--out", str(out)]) == 0
    assert out.read_text().startswith("line,input,id,")
    assert exit_status(["predict", "--url", "ftp://x", str(table)]) == 2
    assert exit_status(["predict", "--url", url.replace("towns", "other"), str(table)]) == 2
    assert "no model of this name" in capsys.readouterr().err
    assert exit_status(["predict", "--url", "http://127.0.0.1:1/predict", str(table)]) == 2
    assert exit_status(["predict"]) == 2
    # No file is concerned.
    assert exit_status(["predict", "--url", url.replace("http:", "https:"), str(table)]) == 2
    told = capsys.readouterr().err
    assert "a file" not in told and "https:" in told
    assert exit_status(["predict", "--url", url.replace("//", "//me:secret@"), str(table)]) == 2
    monkeypatch.setenv("LIMBECK_TOKEN", "secret\nword")
    assert exit_status(["predict", "--url", url, str(table)]) == 2
    assert "secret" not in capsys.readouterr().err


def test_a_second_text_is_any_other_column_to_what_reads_single_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict` answered such rows, and by a server they were errors."""
    install_products(tmp_path / "site", monkeypatch)
    folder = write_model(tmp_path / "model", "text-classification")
    (folder / "recipe.yaml").write_text("data: {source: csv, path: rows.csv, text: text}\n")
    manifest.write_again(folder)
    table = tmp_path / "rows.csv"
    table.write_text("text,text_b\nAda,York\n")
    with serving(tmp_path / "served", f"intents={folder}") as served:
        url = f"http://127.0.0.1:{served.port}/predict/intents"
        found = []
        for asked in ([str(folder)], ["--url", url]):
            assert exit_status(["predict", *asked, str(table)]) == 0
            found.append(json.loads(capsys.readouterr().out))
        local, remote = found
        assert local["text_b"] == "York"
        assert {key: remote[key] for key in local} == local


def test_rows_of_tensors_that_are_left_to_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_products(tmp_path / "site", monkeypatch)
    unsure = Decision(likelihood="categorical", promise={"threshold": 0.999999})
    folder = write_model(tmp_path / "model", "text-classification", decision=unsure)
    model = limbeck.load(folder)
    encoded = model.encoded(model.row(TEXT))
    assert encoded is not None
    inputs = [
        {"name": name, "datatype": "INT64", "shape": [1, len(ids)], "data": ids.tolist()}
        for name, ids in encoded.inputs.items()
    ]
    with serving(tmp_path / "served", f"intents={folder}") as served:
        answer = served.ask("POST", "/v2/models/intents/infer", {"inputs": inputs}).json
        outputs = {each["name"]: each["data"] for each in answer["outputs"]}
        assert outputs["abstain"] == [True]
        lines = served.ask("GET", "/metrics").body.decode().splitlines()
        (line,) = (x for x in lines if x.startswith("limbeck_abstained_rows_total{"))
        assert line.endswith(" 1.0")
