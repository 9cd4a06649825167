"""The folder that a container is built from: what it holds, and that it serves."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made import install_products, write_model
from served import TEXT, install_runtime, probability, serving, write_artifact

from limbeck.cli.main import exit_status
from limbeck.server.deploy import rootfs
from limbeck.server.deploy.folder import burst_mb, name_of, pinned, write
from limbeck.server.reading import read_settings
from limbeck.server.settings import Settings

for package in ("granian", "orjson", "prometheus_client", "python_multipart"):
    pytest.importorskip(package)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_runtime(tmp_path / "site", monkeypatch)
    install_products(tmp_path / "products", monkeypatch)
    artifact = write_artifact(tmp_path / "model")
    out = tmp_path / "deploy"
    assert (
        exit_status(["serve", f"Towns.v2={artifact}", "--workers", "2", "--deploy", str(out)]) == 0
    )
    return out


def test_it_holds_what_a_container_needs(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "Containerfile",
        "inference-service.yaml",
        "kubernetes.yaml",
        "limbeck",
        "models",
        "requirements.txt",
        "rootfs.py",
        "serve.yaml",
    }
    settings = read_settings(folder / "serve.yaml", [], {})
    assert isinstance(settings, Settings)
    assert (settings.workers, settings.host) == (2, "0.0.0.0")
    assert (folder / settings.models["Towns.v2"].folder / "manifest.json").is_file()
    wanted = (folder / "requirements.txt").read_text().split()
    assert wanted == pinned(settings)
    pytest.importorskip("opentelemetry.sdk")
    traced = settings.model_copy(update={"tracing": "http://127.0.0.1:4318"})
    assert any(each.startswith("opentelemetry-sdk==") for each in pinned(traced))
    by_name = dict(each.split("==") for each in wanted)
    assert {"numpy", "onnxruntime", "granian", "orjson"} <= by_name.keys()
    assert not {"torch", "transformers", "pytest"} & by_name.keys()
    assert not list(folder.rglob("__pycache__"))


def test_kubernetes_is_told_names_that_it_takes(folder: Path) -> None:
    parts = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))
    assert [part["kind"] for part in parts][:2] == ["Deployment", "Service"]
    assert {part["metadata"]["name"] for part in parts} == {"towns-v2"}
    pod = parts[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # Requests under way are waited for.
    assert pod["terminationGracePeriodSeconds"] > 30
    assert container["resources"]["requests"]["cpu"] == "2"
    (kserve,) = yaml.safe_load_all((folder / "inference-service.yaml").read_text())
    assert kserve["kind"] == "InferenceService"


def test_its_memory_holds_the_largest_requests(folder: Path, tmp_path: Path) -> None:
    (deployment, *_) = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    most = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    least = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
    # 64 MB of bodies, each of which is held three times.
    assert most >= 1.5 * least + 3 * 64 - 1
    artifact = write_model(tmp_path / "images", "image-classification")
    told = {"workers": 2, "port": 0}
    images = read_settings(None, [f"digits={artifact}"], told)
    # A WebP of 16 million pixels takes 428 MB while it is unpacked, in each worker.
    assert burst_mb(images) > 3 * 64 + 2 * 428


def test_kubernetes_takes_any_names(folder: Path) -> None:
    many = [f"model-number-{number}" for number in range(12)]
    names = {name_of(many), name_of(many[:11]), name_of(["7B"]), name_of(["_"]), name_of(["ab_"])}
    assert len(names) == 5
    for name in names:
        # What is made of it has seven characters more.
        assert re.fullmatch("[a-z][a-z0-9-]{0,54}[a-z0-9]", name), name
    # Names that stand without quotes, and are words of YAML.
    for word in ("no", "null", "ON", "y", "true"):
        assert isinstance(yaml.safe_load(name_of([word])), str), word
    # Without a token nobody reads the metrics: a scraper that is told to would be refused.
    assert "prometheus.io/scrape" not in (folder / "kubernetes.yaml").read_text()


@pytest.mark.services
def test_manifests_are_valid(folder: Path) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    parts = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))
    for part in parts:
        kubernetes.validate(part, kubernetes.latest_version(), strict=True)
    wrong = parts[0] | {"spec": parts[0]["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, kubernetes.latest_version(), strict=True)


def test_a_candidate_is_refused(folder: Path, tmp_path: Path) -> None:
    artifact = folder / "models" / "Towns.v2"
    settings = read_settings(None, [f"towns={artifact},{artifact}:5%"], {})
    with pytest.raises(ValueError, match="'towns' has a candidate"):
        write(settings, tmp_path / "new")


def test_what_is_there_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    artifact = str(tmp_path / "model")
    assert exit_status(["serve", artifact, "--deploy", str(folder)]) == 2
    (tmp_path / "model" / "labels.json").write_text("[]")
    assert exit_status(["serve", artifact, "--deploy", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_is_whole_or_not_there(
    is_there: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "deploy"
    if is_there:
        out.mkdir(parents=True)
    settings = read_settings(None, [f"towns={tmp_path / 'model'}"], {})

    def full(path: Path, content: bytes) -> None:
        # Who looks now sees what was there before.
        assert out.exists() == is_there and not (is_there and any(out.iterdir()))
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("limbeck.server.deploy.folder.write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            write(settings, out)
    assert list(out.parent.iterdir()) == ([out] if is_there else [])
    assert {path.name for path in write(settings, out)} >= {"limbeck", "models", "serve.yaml"}
    assert list(out.parent.iterdir()) == [out]


def test_who_is_killed_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "model"
    shutil.copytree(folder / "models" / "Towns.v2", artifact, dirs_exist_ok=True)
    out = tmp_path / "killed" / "deploy"
    program = (
        "import os, signal, sys, limbeck.server.deploy.folder as folder, limbeck.cli.main as main\n"
        "folder.pinned = lambda settings: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"main.exit_status(['serve', {str(artifact)!r}, '--deploy', {str(out)!r}])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert told.returncode == -9 and not out.exists()
    assert exit_status(["serve", str(artifact), "--deploy", str(out)]) == 0


@pytest.mark.services
def test_its_package_and_settings_serve(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("shop aaaaaaaaaaaaaaaaaaaaaaaa\n")
    # As in the container, but for what is mounted there and the address.
    site = str(tmp_path / "site")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), site]))
    arguments = ("--config", "serve.yaml", "--host", "127.0.0.1", "--tokens", str(tokens))
    where = [sys.executable, "-c", "import limbeck; print(limbeck.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(folder))
    with serving(tmp_path / "served", *arguments) as served:
        key = {"authorization": f"Bearer {'a' * 24}"}
        answer = served.ask("POST", "/predict/Towns.v2", {"text": TEXT}, **key)
        assert answer.json["probability"] == pytest.approx(probability(), abs=1e-6)
        assert served.predict(text=TEXT).status == 401


def test_a_root_file_system_is_not_built_over_something(folder: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(folder / "rootfs.py")]
    told = subprocess.run([*program, str(folder)], capture_output=True, text=True, check=False)
    assert told.returncode == 2 and "something is there already" in told.stderr
    assert subprocess.run(program, capture_output=True, check=False).returncode == 2


def test_a_root_file_system_has_the_libraries_of_its_programs(tmp_path: Path) -> None:
    if not shutil.which("ldd"):
        pytest.skip("no ldd on this machine")
    root = tmp_path / "root"
    # The interpreter itself, not that of a virtual environment, whose library lies elsewhere.
    rootfs.copy_into(root, rootfs.interpreter())
    copied = root / rootfs.interpreter().relative_to("/")
    assert rootfs.is_elf(copied) and not rootfs.is_elf(Path(__file__))
    rootfs.copy_libraries(root)
    names = {path.name for path in root.rglob("*") if path.is_file()}
    assert "libc.so.6" in names and any(name.startswith("ld-linux") for name in names)
    # Each of those that were found needs none that is missing.
    for path in root.rglob("*.so*"):
        for needed in rootfs.libraries_of([path]):
            assert rootfs.below(root, needed).is_file()


@pytest.mark.nightly
@pytest.mark.services
def test_a_root_file_system_serves_without_a_container_engine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subprocess.run(["unshare", "--user", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody have a name space of his own")
    root = tmp_path / "root"
    program = [sys.executable, str(folder / "rootfs.py"), str(root)]
    # It downloads the packages.
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    size, *_ = re.findall(r": (\d+) MB", told)
    assert 100 < int(size) < 600
    assert not list(root.rglob("torch")) and not list(root.rglob("__pycache__"))
    # The runtime of the test's artifact is no part of the base install.
    shutil.copytree(tmp_path / "site", root / "app" / "site", dirs_exist_ok=True)
    (root / rootfs.TOKENS / "tokens").write_text(f"shop {'a' * 24}\n")
    command = [*rootfs.command(root), "--host", "127.0.0.1"]
    with serving(tmp_path / "served", command=command) as served:
        key = {"authorization": f"Bearer {'a' * 24}"}
        answer = served.ask("POST", "/predict/Towns.v2", {"text": TEXT}, **key)
        assert answer.json["probability"] == pytest.approx(probability(), abs=1e-6)
