"""What the system refused, in a sentence: of which file, and the cure."""

import errno

from limbeck.core import plug_ins
from limbeck.core.files import is_disk_full

# Verbs that find their stages in the cache, and may write there.
WITH_CACHE = ("run", "demo", "check", "label", "search", "inspect", "cache")
# Those of them that go on from what was stored before they were stopped.
GOING_ON = ("run", "demo", "label", "search")
# Those that write a run folder.
WITH_RUN_FOLDER = ("run", "demo")

NO_SPACE = "no space left on this disk"
TOO_LARGE = (
    "no space left for a file of this size: larger than files may be here (`ulimit -f` tells and "
    "sets the shell's limit; a disk has one of its own)"
)
QUOTA = "no space left of what this user may take of the disk (its quota)"
NOT_ALLOWED = "may not be written or read ({reason}). Choose a folder of your own"
FAILED = (
    "the disk failed while it was read or written ({reason}); it is not full. "
    "Look at the disk, and give the same command again elsewhere"
)
LOST = (
    "the disk that it lies on is gone, or another one now ({reason}). "
    "Mount it anew, and give the same command again"
)
NO_FOLDER = (
    "a file, or a link that leads nowhere, stands where a folder should be. Remove it, or choose "
    "another folder"
)
NO_FILE = "a folder stands where a file should be. Remove it, or choose another name"
IN_USE = "another program uses it ({reason}). Wait for it, or end it, and try again"
TOO_MANY = (
    "this {who} has too many files open ({reason}). `ulimit -n 4096` allows more in this shell; "
    "then give the same command again"
)
UNUSUAL = "this disk does not offer what is needed of it ({reason}). Choose a folder on another"

# By the name of the system's number, for not every system has them all: what happened, and the
# cure. `{reason}`: in the system's words.
SENTENCES = {
    "EROFS": NOT_ALLOWED,
    "EACCES": NOT_ALLOWED,
    "EPERM": NOT_ALLOWED,
    "EIO": FAILED,
    "ENXIO": FAILED,
    "EREMOTEIO": FAILED,
    "ETIMEDOUT": FAILED,
    "ESTALE": LOST,
    "ENODEV": LOST,
    "ENOTCONN": LOST,
    "EHOSTDOWN": LOST,
    "ENOTDIR": NO_FOLDER,
    "EEXIST": NO_FOLDER,
    "EISDIR": NO_FILE,
    "ENOTEMPTY": "this folder is not empty. Remove what it holds, or choose another",
    "EBUSY": IN_USE,
    "ETXTBSY": IN_USE,
    "EMFILE": TOO_MANY.replace("{who}", "process"),
    "ENFILE": TOO_MANY.replace("{who}", "machine"),
    "ENAMETOOLONG": "no file or folder has so long a name. Choose a shorter one",
    "ELOOP": "a link that leads back to itself. Remove it, or name what it should lead to",
    "ENOENT": (
        "no such file or folder, and none can be made here, or it was removed meanwhile. "
        "Look whether it is there, or choose another"
    ),
    "ENOMEM": "no memory left. End other programs, and give the same command again",
    "EINVAL": "this disk takes no such name, or no such file ({reason}). Choose another",
    "EILSEQ": "this disk takes no such name ({reason}). Choose another",
    "ENOLCK": UNUSUAL,
    "ENOSYS": UNUSUAL,
    "ENOTSUP": UNUSUAL,
    "EOPNOTSUPP": UNUSUAL,
}


def refusal(error: OSError, verb: str | None = "run") -> str:
    """What the system refused, for which file, and the cure.

    `verb`: of the command, which may write to other places; None where none is known.
    """
    name = errno.errorcode.get(error.errno or 0, "")
    place = error.filename if error.filename is not None else "a file"
    if is_disk_full(error):
        what = {"EFBIG": TOO_LARGE, "EDQUOT": QUOTA}.get(name, NO_SPACE)
        cure = "Raise the limit" if name == "EFBIG" else "Free some"
        goes_on = ": it goes on from what is stored" if verb in GOING_ON else ""
        told = f"{place}: {what}. {cure} and give the same command again{goes_on}"
    elif name in SENTENCES:
        told = f"{place}: {SENTENCES[name].format(reason=error.strerror)}"
    else:
        return plug_ins.words_of(error)
    # Behind the system's own words stands whose code met it, where that is a plug-in's.
    told += plug_ins.words_of(error).removeprefix(str(error))
    return ". ".join([told, *_other_places(verb)])


def _other_places(verb: str | None) -> list[str]:
    """Where else a verb can write."""
    from limbeck.core.cache.store import default_folder

    if verb not in WITH_CACHE:
        return []
    out = ", --out another run folder" if verb in WITH_RUN_FOLDER else ""
    return [f"The cache is {default_folder()}; LIMBECK_CACHE names another folder{out}"]
