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
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import limbeck
from limbeck.artifact.manifest import checked_manifest, copy_artifact
from limbeck.core import registry
from limbeck.core.files import digest, write_bytes
from limbeck.server.deploy import rootfs
from limbeck.server.settings import Settings
from limbeck.server.v2.rows import MOST_PIXEL_BYTES

PORT = 8000
TOKENS = "/run/secrets/limbeck/tokens"
# Beside three times the artifacts' bytes: what Python and the runtime take.
LEAST_MEMORY_MB = 200
# What the largest pictures take while they are unpacked, measured of each format (a WebP with
# transparency takes most), and the pixels that a request of the Open Inference Protocol may hold.
PIXEL_BYTES = 28
MOST_PIXELS_MB = MOST_PIXEL_BYTES / 1e6
# A body is held as it came, as what its JSON says, and as what is made of that.
BODY_COPIES = 3
# A connection whose headers and whose small body are as large as they may be, measured; most take a
# twentieth of that.
CONNECTION_MB = 0.06
# What Kubernetes takes for the name of a service is 63 characters; what follows ours has 7.
MOST_NAME = 50
TEMPLATES = ("Containerfile", "kubernetes.yaml", "inference-service.yaml")
# `name[extra]>=1; extra == "serve"`
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;(.*))?")


def write(settings: Settings, folder: Path) -> list[Path]:
    """Write the folder; the files and folders that it holds. It is there once it is whole.

    Raises ValueError for a folder that is not empty, an artifact that is none, or a candidate.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--deploy {folder}: something is there already. Name another folder")
    tried = [name for name, hosted in settings.models.items() if hosted.candidate]
    if tried:
        raise ValueError(
            f"--deploy: {tried[0]!r} has a candidate, and replicas would each judge it by requests "
            "of their own. Leave it out, and let a share of the traffic to a second deployment"
        )
    for hosted in settings.models.values():
        checked_manifest(hosted.folder)
    # Beside it, so that it is moved and not copied: who is killed leaves nothing that looks whole.
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f"{target.name}-", suffix=".tmp"
    ) as beside:
        unfinished = Path(beside) / target.name
        fill(unfinished, settings)
        # One that is empty may be there, and not every system has it replaced.
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    return sorted(folder.iterdir())


def fill(folder: Path, settings: Settings) -> None:
    """Write all that the folder holds into a new one."""
    # 1. What is copied.
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(limbeck.__file__).parent, folder / "limbeck", ignore=ignored)
    for name, hosted in settings.models.items():
        copy_artifact(hosted.folder, folder / "models" / name)
    shutil.copy(rootfs.__file__, folder)
    # 2. What is written.
    needed = "".join(f"{each}\n" for each in pinned(settings))
    write_bytes(folder / "requirements.txt", needed.encode())
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
        "name": name_of(list(settings.models)),
        "port": PORT,
        "tokens": TOKENS,
        "cores": settings.workers * settings.threads,
        "memory_mb": round(memory_mb),
        "most_memory_mb": round(1.5 * memory_mb + burst_mb(settings)),
        # Longer than a request may take, and than the server waits for those under way.
        "grace_seconds": round(settings.drain_seconds + 10),
    }


def burst_mb(settings: Settings) -> float:
    """What the largest requests that are let in may take at once: whoever sends them must not have
    the container ended."""
    limits = settings.limits
    most = BODY_COPIES * max(limits.bodies_bytes, settings.workers * limits.body_bytes) / 1e6
    most += CONNECTION_MB * limits.connections
    if any(reads_images(hosted.folder) for hosted in settings.models.values()):
        # A worker unpacks one picture at a time.
        most += settings.workers * (PIXEL_BYTES * limits.image_pixels / 1e6 + MOST_PIXELS_MB)
    return most


def reads_images(artifact: Path) -> bool:
    """Whether the artifact's task reads images."""
    task = registry.load("tasks", checked_manifest(artifact)["task"])
    return "pixel_values" in task.input_names


def name_of(models: Sequence[str]) -> str:
    """A name of the models for Kubernetes: letters, digits, dashes, a letter first (RFC 1035)."""
    name = "-".join(re.sub("[^a-z0-9]+", "-", each.lower()) for each in models).strip("-")
    # `no` and `null` are no texts to a reader of YAML.
    if not name[:1].isalpha() or not isinstance(yaml.safe_load(name), str):
        name = f"model-{name}".strip("-")
    if len(name) <= MOST_NAME:
        return name
    # Two sets of models that begin alike have two names.
    return f"{name[: MOST_NAME - 9].rstrip('-')}-{digest(list(models))[:8]}"


def pinned(settings: Settings) -> list[str]:
    """The base install and the extras that the settings need, `name==version` as installed here.

    Raises ModuleNotFoundError where one of them is not installed.
    """
    extras = "serve|tracing" if settings.tracing else "serve"
    of_extras = re.compile(f"""extra == ["']({extras})["']""")
    found = []
    for text in metadata.requires("limbeck") or []:
        match = REQUIREMENT.match(text)
        assert match is not None
        name, marker = match[1], match[2] or ""
        is_needed = "extra ==" not in marker or of_extras.search(marker)
        if is_needed:
            found.append(f"{name}=={metadata.version(name)}")
    return sorted(set(found), key=str.lower)
