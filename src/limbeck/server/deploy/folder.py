"""`limbeck serve ... --deploy FOLDER`: all that a container needs, in a folder.

    Containerfile          of the base install with the extra `serve`: no torch
    requirements.txt       the packages, in the versions that are installed here
    limbeck/               the package itself, as it is installed here
    models/NAME/           the artifacts
    serve.yaml             the settings, for any address, with tokens from a file that is mounted
    rootfs.py              makes the same as a root file system, where no container engine runs
    kubernetes.yaml        Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget
    inference-service.yaml the same for KServe

The server keeps no state beside the plan of its models: replicas are how it outgrows a machine.
"""

import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import limbeck
from limbeck.artifact.manifest import checked_manifest, copy_artifact
from limbeck.core.files import write_bytes
from limbeck.server.deploy import rootfs
from limbeck.server.settings import Settings

PORT = 8000
TOKENS = "/run/secrets/limbeck/tokens"
# Beside three times the artifacts' bytes: what Python and the runtime take.
LEAST_MEMORY_MB = 200
TEMPLATES = ("Containerfile", "kubernetes.yaml", "inference-service.yaml")
# `name[extra]>=1; extra == "serve"`
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;(.*))?")


def write(settings: Settings, folder: Path) -> list[Path]:
    """Write the folder; the files and folders that it holds.

    Raises ValueError for a folder that is not empty, or an artifact that is none.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--deploy {folder}: something is there already. Name another folder")
    for hosted in settings.models.values():
        checked_manifest(hosted.folder)
    # 1. What is copied.
    folder.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(limbeck.__file__).parent, folder / "limbeck", ignore=ignored)
    for name, hosted in settings.models.items():
        copy_artifact(hosted.folder, folder / "models" / name)
    shutil.copy(rootfs.__file__, folder)
    # 2. What is written.
    write_bytes(folder / "requirements.txt", "".join(f"{each}\n" for each in pinned()).encode())
    text = yaml.safe_dump(told(settings), sort_keys=False)
    write_bytes(folder / "serve.yaml", text.encode())
    facts = facts_of(settings, folder)
    # No HTML is made: nothing is to be escaped.
    environment = Environment(
        loader=PackageLoader("limbeck.server.deploy"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for name in TEMPLATES:
        content = environment.get_template(f"{name}.j2").render(facts)
        write_bytes(folder / name, content.encode())
    return sorted(folder.iterdir())


def told(settings: Settings) -> dict[str, Any]:
    """The settings of the container: those that were given, with its own paths and address."""
    content = settings.model_dump(mode="json", exclude_unset=True)
    content["models"] = {name: {"folder": f"models/{name}"} for name in settings.models}
    return content | {"host": "0.0.0.0", "port": PORT, "tokens": TOKENS}


def facts_of(settings: Settings, folder: Path) -> dict[str, Any]:
    """What the templates fill in."""
    files = [path for path in (folder / "models").rglob("*") if path.is_file()]
    model_mb = sum(path.stat().st_size for path in files) / 1e6
    # Each worker opens the models by itself.
    memory_mb = settings.workers * (LEAST_MEMORY_MB + 3 * model_mb)
    return {
        "name": "-".join(re.sub("[^a-z0-9]+", "-", each.lower()) for each in settings.models),
        "port": PORT,
        "tokens": TOKENS,
        "cores": settings.workers * settings.threads,
        "memory_mb": round(memory_mb),
        "most_memory_mb": round(1.5 * memory_mb),
        # Longer than a request may take, and than the server waits for those under way.
        "grace_seconds": round(settings.drain_seconds + 10),
    }


def pinned() -> list[str]:
    """The base install and the extra `serve`, `name==version` as installed here.

    Raises ModuleNotFoundError where one of them is not installed.
    """
    found = []
    for text in metadata.requires("limbeck") or []:
        match = REQUIREMENT.match(text)
        assert match is not None
        name, marker = match[1], match[2] or ""
        is_needed = "extra ==" not in marker or re.search(r"""extra == ["']serve["']""", marker)
        if is_needed:
            found.append(f"{name}=={metadata.version(name)}")
    return sorted(set(found), key=str.lower)
