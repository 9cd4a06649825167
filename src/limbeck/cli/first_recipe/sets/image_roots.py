"""Which folder of a repository is the root of a set of images, where several lie side by side.

The outermost folders of a project are no classes: `experiments/dest/train/CLASS` and
`experiments/data/CLASS` are two sets, perhaps of the same images.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from limbeck.core.terminal.shell import command
from limbeck.core.wording import some
from limbeck.sources._image_layout import are_splits
from limbeck.sources._split_files import split_of

SHOWN = 5

Folders = Mapping[str, set[str]]  # by a folder's path, the names of those in it that hold images


def image_root(folder: Path, names: Sequence[str]) -> str | None:
    """The one folder below `folder` that holds a set of images in splits; None where the images lie
    as one set from `folder` on.

    `names`: of the images, their paths below `folder`. Raises ValueError where several folders hold
    sets, or the same classes.
    """
    inside = _inside(names)
    tops = inside.get("", set())
    # A class may hold its own splits: CLASS/train/x.png.
    if len(tops) < 2 or are_splits(tops) or all(are_splits(inside.get(top, ())) for top in tops):
        return None
    of_root = {path: _classes(path, inside) for path in inside if are_splits(inside[path])}
    of_root = {path: classes for path, classes in of_root.items() if len(classes) > 1}
    again = _again(inside, of_root)
    roots = [*of_root, *again]
    if len(roots) > 1:
        classes = set().union(*of_root.values()) or inside[again[0]]
        told = [f"{path}/" for path in roots]
        raise ValueError(
            f"{folder}: several folders hold sets of images ({some(told, SHOWN)}), with the "
            f"classes {some(sorted(classes), SHOWN)}: they may be the same images twice. Give one "
            f"of them: {command('init', folder / roots[0])}"
        )
    return roots[0] if roots else None


def _inside(names: Sequence[str]) -> Folders:
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = PurePosixPath(name).parts[:-1]
        for depth, part in enumerate(parts):
            inside["/".join(parts[:depth])].add(part)
    return dict(inside)


def _classes(path: str, inside: Folders) -> set[str]:
    """The folders in the splits that a folder holds."""
    splits = [name for name in inside[path] if split_of(name)]
    return {one for split in splits for one in inside.get(f"{path}/{split}", ())}


def _again(inside: Folders, of_root: Mapping[str, set[str]]) -> list[str]:
    """The folders that hold the classes of a set once more; without such a set, those that hold the
    same classes at several places of a repository."""
    plain = {
        path: names
        for path, names in inside.items()
        if path and len(names) > 1 and not any(_is_in(path, root) for root in of_root)
    }
    if of_root:
        classes = set().union(*of_root.values())
        return [path for path, names in plain.items() if len(names & classes) > 1]
    alike: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for path, names in plain.items():
        if are_named(names):
            alike[frozenset(names)].append(path)
    for paths in alike.values():
        # At the same place of every class, or several times in one, they are parts of it, such as
        # the views of each patient.
        tops = {path.partition("/")[0] for path in paths}
        places = {path.partition("/")[2] for path in paths}
        if len(places) > 1 and len(tops) == len(paths):
            return paths
    return []


def _is_in(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/") or root.startswith(f"{path}/")


def are_named(folders: Collection[str]) -> bool:
    """Whether folders differ by more than a number: patients and sessions are numbered."""
    return len({re.sub(r"[0-9]+", "", name) for name in folders}) > 1
