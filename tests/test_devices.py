"""`train.device`: what each choice stands for, and what is said where it is not to be had."""

import os
from pathlib import Path

import pytest
import torch

from limbeck.cli.main import main
from limbeck.core.cache.store import Store
from limbeck.core.system import machine
from limbeck.pipeline import runs
from limbeck.pipeline.context import RunContext
from limbeck.recipe.reading import parse
from limbeck.training import devices

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 2}
train: {device: DEVICE}
"""


def test_auto_is_the_first_gpu_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here: set[str] = set()
    monkeypatch.setattr(devices, "is_available", here.__contains__)
    assert devices.resolve("auto") == torch.device("cpu")
    here |= {"xpu"}
    assert devices.resolve("auto") == torch.device("xpu", 0)
    here |= {"mps"}
    assert devices.resolve("auto") == torch.device("mps")
    here |= {"cuda"}
    assert devices.resolve("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")  # torchrun's second process
    assert devices.resolve("cuda") == torch.device("cuda", 1)


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this build of torch has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "xpu"])
def test_a_device_that_this_build_lacks_names_the_build(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("DEVICE", device))
    monkeypatch.setattr("sys.argv", ["limbeck", "run", str(recipe), "--out", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert f"train.device: {device}: this PyTorch ({torch.__version__}) was built without" in said
    assert "install the build of torch for it" in said
    assert not list(tmp_path.glob("o/*"))


def test_a_gpu_that_is_not_visible_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "is_available", lambda kind: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    with pytest.raises(ValueError, match=r"^train\.device: cuda: no NVIDIA or AMD GPU is visible"):
        devices.resolve("cuda")


def test_a_number_beyond_the_gpus_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "is_available", lambda kind: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"cuda:2: this machine has 2 GPUs, .*cuda:0 to cuda:1"):
        devices.resolve("cuda:2")


@pytest.mark.parametrize(
    ("device", "nearest"),
    [
        ("gpu", "cuda"),
        ("CPU", "cpu"),
        ("cpu:0", "cpu"),
        ("'cuda:-1'", "cuda"),
        ("'cuda:'", "cuda"),
        ("'GPU:01'", "cuda:1"),
        ("rocm", "cuda"),
        ("cdua", "cuda"),
        ("tpu", None),
        ("0", None),
        ("[cuda]", None),
        ("true", None),
    ],
)
def test_a_device_of_no_such_name_is_told_with_the_nearest(
    device: str, nearest: str | None
) -> None:
    with pytest.raises(ValueError, match="train\\.device: ") as refused:
        parse(RECIPE.replace("DEVICE", device))
    said = str(refused.value)
    hint = f"Did you mean `{nearest}`? " if nearest else ""
    assert f"train.device: {hint}The device is one of auto, cpu, cuda, cuda:N" in said
    assert "pattern" not in said


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "'cuda:3'", "mps", "xpu"])
def test_a_device_that_has_a_name_is_taken(device: str) -> None:
    assert parse(RECIPE.replace("DEVICE", device)).train.device == device.strip("'")


def test_more_threads_than_cores_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.note_of_threads(2) is None
    assert "3 threads share the 2 cores" in str(machine.note_of_threads(3))
    told: list[object] = []
    store = Store(tell=told.append)
    run = RunContext(parse(RECIPE.replace("DEVICE", "cpu"), overrides=["train.threads=3"]), store)
    runs.tell_of_threads(run)
    runs.tell_of_threads(run)
    assert len(told) == 1


def test_a_gpu_needs_to_know_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(devices, "is_available", lambda kind: True)
    with pytest.raises(ValueError, match="LOCAL_RANK, which says whose GPU is whose, is not"):
        devices.open_place("cuda")


def test_bfloat16_is_asked_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Accelerator:
        device = torch.device("cuda", 0)

    place = devices.Place(Accelerator())
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    assert place.dtype("auto", reads_text=True) == torch.float32
    with pytest.raises(ValueError, match=r"^train\.dtype: cuda:0 has no bfloat16"):
        place.dtype("bfloat16", reads_text=True)
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
    assert place.dtype("auto", reads_text=False) == torch.bfloat16


@pytest.mark.gpu
def test_a_gpu_gives_its_name_to_the_key() -> None:
    place = devices.open_place("cuda")
    assert place.describe()["device_name"] == torch.cuda.get_device_name()


def test_variables_of_accelerate_change_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    place = devices.open_place("cpu")
    assert place.accelerator.mixed_precision == "no"
    assert place.accelerator.distributed_type.value == "NO"
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "fp8"
