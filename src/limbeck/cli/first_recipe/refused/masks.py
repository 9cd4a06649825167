"""Images beside the masks of regions in them, which are no class and no images to learn from."""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources.image_folder import TABLE

MASKS = {"mask", "masks", "segmentation", "segmentations"}
# What lies beside one another of the same thing, and is no class.
FORMS = {"image", "images", "img", "imgs", "label", "labels", "annotations", *MASKS}
# The mask of another image, whose name stands before: `x_mask.png`, `x_mask_1.png`, `x_seg.png`.
OF_ANOTHER = re.compile(r"(?i)(.+)[_-](masks?|segmentation|seg|gt|groundtruth)([_-]?[0-9]+)?")
SHOWN = 5


def refuse_masks(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise ValueError where some of the images are masks of others, with the command that lists
    the others. `classes`: what the folders of the images look like."""
    are_forms = {name.lower() for name in classes} <= FORMS
    masks = masks_in(names, classes)
    if not masks and not are_forms:
        return
    told = f"({some(list(classes), SHOWN)})"
    if masks:
        told = f"({len(masks):,} masks among {len(names):,} files, such as {masks[0]})"
    cure = "move the masks out of the folder"
    if masks and not are_forms and folder.is_dir():
        cure = f"in that folder: {_listing(names, masks)} && {command('init', '.')}"
    raise ValueError(
        f"{folder}: images beside their masks {told}, which are no class and no images to learn "
        "from. Finding regions is no task here. To tell whole images apart, without the masks, "
        f"{cure}"
    )


def masks_in(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The images that are masks of others: by the folder that they lie in, or by their names."""
    paths = [PurePosixPath(name) for name in names]
    stems = {path.stem for path in paths}
    beside: dict[PurePosixPath, set[str]] = {}
    for path in paths:
        beside.setdefault(path.parent.parent, set()).add(path.parent.name.lower())
    masks = []
    for name, path in zip(names, paths, strict=True):
        match = OF_ANOTHER.fullmatch(path.stem)
        # A class may be called `mask`, beside one of faces without any.
        is_class = path.parent.name in classes and not beside[path.parent.parent] <= FORMS
        in_folder = path.parent.name.lower() in MASKS and len(path.parts) > 2 and not is_class
        if in_folder or (match and match[1] in stems):
            masks.append(name)
    return masks


def _listing(names: Sequence[str], masks: Sequence[str]) -> str:
    """Python, which writes split.csv of the images that are no masks, by their folders."""
    suffixes = sorted({PurePosixPath(name).suffix.lower() for name in names})
    # Folders of nothing else.
    folder_of = {name: str(PurePosixPath(name).parent) for name in names}
    others = {folder_of[name] for name in {*names} - {*masks}}
    all_in = sorted({folder_of[name] for name in masks} - others)
    code = (
        "import csv, glob, os, re; from limbeck.sources._image_layout import placed; "
        'files = sorted(f.replace(os.sep, "/") for f in glob.glob("**/*.*", recursive=True) '
        f"if os.path.splitext(f)[1].lower() in {json.dumps(suffixes)}); "
        "stems = {os.path.splitext(os.path.basename(f))[0] for f in files}; "
        f"of = re.compile({json.dumps(OF_ANOTHER.pattern)}); "
        f"kept = [f for f in files if os.path.dirname(f) not in {json.dumps(all_in)} "
        "for m in [of.fullmatch(os.path.splitext(os.path.basename(f))[0])] "
        "if not (m and m[1] in stems)]; "
        f'out = csv.writer(open("{TABLE}", "w", newline="", encoding="utf-8")); '
        'out.writerow(["file", "label", "split"]); '
        "out.writerows([p.name, p.label, p.split] for p in placed(kept) if p.label)"
    )
    return script(code)
