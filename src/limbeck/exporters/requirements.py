"""What an export needs, asked before a training: packages that write graphs, and open them."""

from collections.abc import Sequence
from importlib import metadata

from limbeck.artifact.runtimes import Runtime, require_packages, require_programs
from limbeck.core import registry
from limbeck.exporters import ForTasks, KeepsKeysAndValues, LeavesTasks, WritesFloat


def require_exporters(names: Sequence[str]) -> None:
    """Check that everything is installed that writes, opens and proves the graphs of `names`.

    names: the exporters of a recipe, its `export`.

    Raises ValueError with the line to run, or the name to leave out of `export`.
    """
    exporter_of: dict[str, str] = {}
    for name in names:
        otherwise = f"leave `{name}` out of `export`"
        exporter = registry.load("exporters", name)
        require_packages(exporter.needs, otherwise)
        for runtime in exporter.runtimes:
            # Without what opens it a graph would be handed out that nobody has proven: what is not
            # here is told now. `limbeck export` writes the file of a finished run where it is.
            require_programs(_load_runtime(runtime, name)(), otherwise)
            # A manifest has one graph for each runtime: the second would replace the first.
            if runtime in exporter_of:
                raise ValueError(
                    f"export: `{exporter_of[runtime]}` and `{name}` both write the graph of "
                    f"`{runtime}`. Leave one of them out of `export`"
                )
            exporter_of[runtime] = name


def _load_runtime(runtime: str, exporter: str) -> type[Runtime]:
    """The class of a runtime. Raises ValueError that says which exporter asked for it."""
    try:
        opener: type[Runtime] = registry.load("runtimes", runtime)
    except ValueError as error:
        raise ValueError(
            f"export: `{exporter}` writes a graph that no runtime opens here: {error}"
        ) from None
    return opener


def why_other_task(name: str, task: str) -> str | None:
    """Why the exporter `name` does not write what a task has trained; None where it does."""
    exporter = registry.create("exporters", name)
    if isinstance(exporter, LeavesTasks) and task in exporter.other_exporters:
        return (
            f"export: `{name}` writes no models of {task}: say "
            f"`{exporter.other_exporters[task]}` in its place"
        )
    if not isinstance(exporter, ForTasks) or task in exporter.tasks:
        return None
    return (
        f"export: `{name}` writes models of {' and '.join(exporter.tasks)}, and the task is "
        f"{task}. Leave `{name}` out of `export`"
    )


def why_other_kv_cache(name: str, kv_cache: str) -> str | None:
    """Why the exporter `name` writes no model that keeps keys and values as `quantize.kv_cache`
    says; None where it does."""
    if kv_cache == "float":
        return None
    exporter = registry.create("exporters", name)
    advice = ""
    if isinstance(exporter, KeepsKeysAndValues):
        if kv_cache in exporter.kv_caches:
            return None
        advice = f"{exporter.other_kv_cache} "
    return (
        f"export: `{name}` writes no model that keeps keys and values in {kv_cache}, as "
        f"`quantize.kv_cache` asks. {advice}Leave `{name}` out of `export`, or leave `kv_cache` out"
    )


def exporters_of_float(names: Sequence[str]) -> list[str]:
    """Those of the exporters `names` that write float models as well."""
    return [name for name in names if writes_float(name)]


def writes_float(name: str) -> bool:
    """Whether the exporter `name` writes float models."""
    exporter = registry.create("exporters", name)
    return not isinstance(exporter, WritesFloat) or exporter.writes_float


def runtimes_of(names: Sequence[str]) -> list[str]:
    """The runtimes that the graphs of the exporters `names` are opened in, in their order."""
    runtimes: list[str] = []
    for name in names:
        runtimes += registry.load("exporters", name).runtimes
    return runtimes


def package_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Version of every package that writes or opens the graphs of the exporters `names`.

    None for one that is no distribution of its own name. A graph and its proof depend on them.
    """
    packages: set[str] = set()
    for name in names:
        packages.update(registry.load("exporters", name).needs)
    for runtime in runtimes_of(names):
        packages.update(registry.load("runtimes", runtime).needs)
    # Sorted, because this is part of a key of the cache.
    return {package: _version(package) for package in sorted(packages)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
