"""A user's own module in a key: its code counts, whatever way it is reached, and words do not."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck import Own
from limbeck.pipeline.code import code_digest, own_code
from limbeck.pipeline.code.own_walk import Walk

HELPERS = """
FACTOR = 2
def scale(x): return x * FACTOR
def unused(x): return x
"""
MINE = '''
import dataclasses
import functools

import helpers
import torch
from torch import nn

NAMES = {"a", "b", "c"}


def decorated(function):
    @functools.wraps(function)
    def call(*arguments):
        return function(*arguments)
    return call


@dataclasses.dataclass
class Answer:
    """Words."""

    logits: torch.Tensor
    extra: list = dataclasses.field(default_factory=list)


class Base(nn.Module):
    share = 0.5

    def bend(self, x):
        return torch.relu(x)


class Mine(Base):
    def __init__(self):
        super().__init__()
        self.inner = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
        self.bound = functools.partial(torch.clamp, min=0)
        self.change = lambda x: x + 1
        self.settings = {"power": 2.0}
        self.register_forward_hook(lambda module, inputs, output: output)
        self.register_buffer("mask", torch.ones(2), persistent=False)

    @decorated
    @torch.no_grad()
    def forward(self, pixel_values):
        """Words."""
        from late import last
        x = helpers.scale(self.bend(self.inner(pixel_values)))
        if "a" in NAMES:
            x = last(x) * self.share  # why
        return Answer(self.change(x))

    @property
    def width(self):
        return 2


def unused():
    return 1
'''
LATE = "def last(x): return x\n"


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The digest of `Mine` by the files of a folder, as a process would see it that starts now."""
    monkeypatch.syspath_prepend(tmp_path)
    # Python would take a compiled file for one of the same second and size.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ("mine", "helpers", "late")

    def forget() -> None:
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        # Not what lists all installed packages, which takes a second.
        digests = vars(code_digest)
        for function in ("modules_reached", "imports_of", "_named_in", "_spec", "tree_digest"):
            digests[function].cache_clear()

    def found(mine: str = MINE, helpers: str = HELPERS, late: str = LATE) -> str:
        for name, text in zip(names, (mine, helpers, late), strict=True):
            (tmp_path / f"{name}.py").write_text(text)
        forget()
        torch.manual_seed(0)
        module = importlib.import_module("mine").Mine()
        code: str = own_code.reference(Own(module), "mine")["code"]
        return code

    yield found
    forget()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.inner(pixel_values)", "self.inner(pixel_values) + 1"),
        ("torch.relu(x)", "torch.tanh(x)"),
        ("share = 0.5", "share = 0.25"),
        ("min=0", "min=-1"),
        ("lambda x: x + 1", "lambda x: x + 2"),
        ('"power": 2.0', '"power": 3.0'),
        ("inputs, output: output", "inputs, output: 2 * output"),
        ("torch.ones(2)", "torch.zeros(2)"),
        ("return function(*arguments)", "return function(*arguments) + 1"),
        ("default_factory=list", "default_factory=dict"),
        ('"b", "c"}', '"b", "d"}'),
        ("return 2\n\n\ndef", "return 3\n\n\ndef"),
        ("weight_norm(nn.Linear(4, 2))", "spectral_norm(nn.Linear(4, 2))"),
        ("@torch.no_grad()", "@torch.inference_mode()"),
    ],
)
def test_changed_code_is_another_key(digest: Callable[..., str], old: str, new: str) -> None:
    assert old in MINE
    assert digest(MINE.replace(old, new)) != digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# another reason"),
        ('        """Words."""\n', '        """Other words."""\n'),
        ("def unused():\n    return 1", "def unused():\n    return 2"),
        ("\n\nNAMES", "\n\n\n\nNAMES"),
    ],
)
def test_words_and_what_is_not_reached_do_not_count(
    digest: Callable[..., str], old: str, new: str
) -> None:
    assert old in MINE
    assert digest(MINE.replace(old, new)) == digest()


def test_what_other_files_say_counts_where_it_is_reached(digest: Callable[..., str]) -> None:
    first = digest()
    assert digest(helpers=HELPERS.replace("FACTOR = 2", "FACTOR = 3")) != first
    assert digest(helpers=HELPERS.replace("return x * FACTOR", "return FACTOR")) != first
    assert digest(helpers=HELPERS.replace("unused(x): return x", "unused(x): return 1")) == first
    assert digest(late="def last(x): return -x\n") != first


def test_the_code_that_runs_counts_and_not_a_file_that_was_changed_since(
    digest: Callable[..., str], tmp_path: Path
) -> None:
    """Of the same size and time: whoever looks at these alone takes it for unchanged."""
    first = digest()
    path = tmp_path / "mine.py"
    module = sys.modules["mine"].Mine
    stat = path.stat()
    torch.manual_seed(0)
    path.write_text(MINE.replace("x + 1", "x + 2"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    edited = own_code.reference(Own(module()), "mine")["code"]
    # Loaded from the new file the same text is another module.
    assert digest(MINE.replace("x + 1", "x + 2")) not in (first, edited)


def test_hash_order_is_not_part_of_it() -> None:
    reader, other = Walk(own_code.VISITS), Walk(own_code.VISITS)
    reader.visit({"a", "b", "c", (1, 2)}, "set")
    other.visit({(1, 2), "c", "b", "a"}, "set")
    assert reader.sha.hexdigest() == other.sha.hexdigest()


def made_by_exec() -> nn.Module:
    names: dict[str, type[nn.Module]] = {}
    text = "from torch import nn\nclass E(nn.Module):\n    def forward(self, x): return x\n"
    exec(text, names)
    return names["E"]()


def test_code_that_cannot_be_read_asks_for_a_version() -> None:
    module = made_by_exec()
    with pytest.raises(ValueError, match=r"model `mine`: the code of `E\.forward` .*version=\"1\""):
        own_code.reference(Own(module), "mine")
    stated = [own_code.reference(Own(module, version=word), "mine") for word in "112"]
    assert stated[0] == stated[1] != stated[2]


def test_what_has_a_state_that_cannot_be_read_asks_for_a_version() -> None:
    module = nn.Linear(2, 2)
    module.noise = torch.Generator()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"`Linear\.noise` \(Generator\) cannot be read"):
        own_code.reference(Own(module), "mine")


def test_a_graph_of_torch_counts_by_its_text() -> None:
    class Plus(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    class Minus(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - 1

    codes = [
        own_code.reference(Own(torch.fx.symbolic_trace(module)), "m")
        for module in (Plus(), Minus())
    ]
    assert codes[0] != codes[1]


def test_tied_weights_are_not_equal_ones() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    apart = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert own_code.reference(Own(tied), "m") != own_code.reference(Own(apart), "m")
