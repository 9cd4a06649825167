"""Components by name: a family of toys for the mechanism, then what every real component must look like."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import limbeck
from limbeck.core import plug_ins, registry, wording

SOFT_TOY = '''"""A toy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SoftToy:
    """`size` is needed."""

    size: int
    weight: float = 1.0
    kind: Literal["round", "square"] = "round"
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("`size` is from 0 up")
'''
BALL = '"""A ball."""\n\n\nclass Ball:\n    """Round."""\n'


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A family `toys` with the components soft_toy and ball."""
    folder = tmp_path / "package" / "toys"
    folder.mkdir(parents=True)
    for name, text in {
        "__init__.py": '"""Toys."""\n',
        "soft_toy.py": SOFT_TOY,
        "ball.py": BALL,
    }.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(limbeck, "__path__", [*limbeck.__path__, str(folder.parent)])
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith("limbeck.toys")]:
        del sys.modules[name]
    monkeypatch.delattr(limbeck, "toys", raising=False)


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Pretend that another distribution offers a toy."""
    points = EntryPoints([EntryPoint(name=name, value=value, group="limbeck.toys")])
    monkeypatch.setattr(plug_ins, "entry_points", points.select)


def test_names_are_the_files_sorted() -> None:
    assert registry.names("toys") == ["ball", "soft_toy"]


def test_load_finds_the_class_in_cap_words() -> None:
    assert registry.load("toys", "soft_toy").__name__ == "SoftToy"
    assert registry.load("toys", "ball").__name__ == "Ball"


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(
        ValueError,
        match=r"^toys has no component `soft_toi`\. Did you mean `soft_toy`\? Choices: ball, soft_toy$",
    ):
        registry.load("toys", "soft_toi")


@pytest.mark.parametrize(
    "name", ["", "os", "..store", "soft_toy.SoftToy", "limbeck.core.cache.store", "__init__"]
)
def test_a_name_cannot_leave_the_family(name: str) -> None:
    with pytest.raises(ValueError, match="toys has no component"):
        registry.load("toys", name)


def test_tasks_are_spelt_with_dashes() -> None:
    names = registry.names("tasks")
    assert "token-classification" in names
    assert not any("_" in name for name in names)
    assert registry.load("tasks", "token-classification").__name__ == "TokenClassification"
    with pytest.raises(ValueError, match="Did you mean `token-classification`"):
        registry.load("tasks", "token_classification")


def test_keys_are_the_parameters_of_the_constructor() -> None:
    assert list(registry.keys("toys", "soft_toy")) == ["size", "weight", "kind", "parts"]
    assert list(registry.keys("toys", "ball")) == []


def test_create_converts_and_fills_defaults() -> None:
    toy = registry.create("toys", "soft_toy", {"size": 2, "weight": 3, "parts": [1, 2]})
    assert (toy.size, toy.weight, toy.kind, toy.parts) == (2, 3.0, "round", (1, 2))
    assert type(toy.weight) is float
    assert type(registry.create("toys", "ball")).__name__ == "Ball"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"size": 1, "wieght": 2},
            r"^`soft_toy` \(toys\) has no key `wieght`\. Did you mean `weight`\? Choices: size, weight, kind, parts$",
        ),
        (
            {"size": "big"},
            r"^`size` of `soft_toy` \(toys\) is 'big': Input should be a valid integer",
        ),
        ({"size": 1.5}, r"^`size` of `soft_toy` \(toys\) is 1\.5: Input should be a valid integer"),
        (
            {"size": 1, "kind": "flat"},
            r"^`kind` of `soft_toy` \(toys\) is 'flat': Input should be 'round' or 'square'$",
        ),
        (
            {"size": 1, "weight": None},
            r"^`weight` of `soft_toy` \(toys\) is None: Input should be a valid number$",
        ),
        (
            {"size": True},
            r"^`size` of `soft_toy` \(toys\) is True: Input should be a valid integer$",
        ),
        (
            {"size": 1, "weight": float("inf")},
            r"^`weight` of `soft_toy` \(toys\) is inf: Input should be a finite number$",
        ),
        ({}, r"^`soft_toy` \(toys\) needs the key `size`\. Its keys: size, weight, kind, parts$"),
        ({"size": -1}, r"^`size` is from 0 up$"),
    ],
)
def test_create_checks_every_key(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        registry.create("toys", "soft_toy", options)


def test_create_does_not_change_its_options() -> None:
    options = {"size": "2"}
    assert registry.create("toys", "soft_toy", options).size == 2
    assert options == {"size": "2"}


def test_an_outside_component_is_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "odict", "collections:OrderedDict")
    assert registry.names("toys") == ["ball", "odict", "soft_toy"]
    assert registry.load("toys", "odict").__name__ == "OrderedDict"
    assert registry.load("toys", "ball").__name__ == "Ball"


def test_a_component_that_two_packages_offer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "ball", "collections:OrderedDict")
    with pytest.raises(
        ValueError,
        match=r"more than one component `ball`: limbeck's own limbeck\.toys\.ball; collections:",
    ):
        registry.load("toys", "ball")
    assert registry.load("toys", "soft_toy").__name__ == "SoftToy"


def test_a_private_module_is_no_component(tmp_path: Path) -> None:
    (tmp_path / "package" / "toys" / "_shared.py").write_text('"""Help."""\n')
    assert registry.names("toys") == ["ball", "soft_toy"]


def test_a_file_without_the_class_of_its_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "package" / "toys" / "square_toy.py"
    path.write_text('"""A slip."""\n\n\nclass SquaredToy:\n    pass\n\n\nclass _Help:\n    pass\n')
    assert registry.names("toys") == ["ball", "soft_toy"]
    with pytest.raises(ValueError, match=r"\S") as caught:
        registry.create("toys", "square_toy")
    assert str(caught.value) == (
        f"{path}: this file of toys defines no class `SquareToy`, so it holds no component. It defines SquaredToy, _Help. "
        "Give the class the name of its file, in CapWords"
    )
    path.write_text("CONSTANT = 1\n")
    with pytest.raises(ValueError, match=r"It defines no class\. Give the class"):
        registry.load("toys", "square_toy")


@pytest.mark.parametrize("value", ["collections:OrderdDict", "colections:OrderedDict"])
def test_a_plug_in_that_cannot_be_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    plug_in(monkeypatch, "odict", value)
    with pytest.raises(
        ValueError,
        match=rf'^toys: the plug-in `odict` \({value}\) cannot be imported: .*odict = "package\.module:Odict"$',
    ):
        registry.load("toys", "odict")


def test_a_plug_in_that_is_no_class_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "odict", "collections")
    told = r"^toys: the plug-in `odict` \(collections\) is a module, not a class\. An entry point names"
    with pytest.raises(ValueError, match=told):
        registry.load("toys", "odict")


def test_a_plug_in_for_another_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing it fails in its own code."""
    (tmp_path / "outdated.py").write_text("class Outdated(removed.Base):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plug_in(monkeypatch, "outdated", "outdated:Outdated")
    with pytest.raises(
        ValueError, match=r"cannot be imported: NameError: name 'removed' is not defined"
    ):
        registry.load("toys", "outdated")


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("kll", ["kl", "hidden"], "Did you mean `kl`? Choices: kl, hidden"),
        ("zzz", ["kl", "hidden"], "Choices: kl, hidden"),
        ("zzz", [], "Choices: none"),
        ("1", [1, 22], "Did you mean `1`? Choices: 1, 22"),
    ],
)
def test_suggest(word: str, choices: list[object], expected: str) -> None:
    assert wording.suggest(word, choices) == expected


# Every real component; those of the upper floor in `test_registry_with_torch.py`.

GROUND_ROOMS = ["core", "sources", "tasks", "recipe", "evaluation", "artifact", "server"]
GROUND_ROOMS += ["reports"]
GROUND_FAMILIES = [
    family for family, home in registry.FAMILIES.items() if home.split(".")[0] in GROUND_ROOMS
]


def check_components_read_alike(family: str) -> None:
    """The class is found by its name, is the one public class of its file, is documented, and every key has a type."""
    assert registry.names(family)
    for name in registry.names(family):
        component = registry.load(family, name)
        module = inspect.getmodule(component)
        public = [
            key
            for key, item in vars(module).items()
            if inspect.isclass(item) and item.__module__ == component.__module__ and key[0] != "_"
        ]
        assert public == [component.__name__], f"{family}/{name}: {public}"
        assert component.__doc__, f"{family}/{name} has no docstring"
        untyped = [
            key
            for key, parameter in registry.keys(family, name).items()
            if parameter.annotation is parameter.empty
        ]
        assert not untyped, f"{family}/{name}: the keys {untyped} have no type"


@pytest.mark.parametrize("family", GROUND_FAMILIES)
def test_every_component_reads_alike(family: str) -> None:
    check_components_read_alike(family)


# Who may ask for what: import-linter does not see what is loaded by name.

TRAINED = ["models", "data", "losses", "surgeries", "distillation", "quantization", "training"]
FLOORS = [*GROUND_ROOMS, *TRAINED, "exporters", "analysis", "pipeline", "studies", "cli"]


def floor(package: str) -> int:
    """How high a room stands, from `losses/kl.py` or `quantization.ranges`."""
    return FLOORS.index(re.split(r"[./]", package)[0])


def asked_families(tree: ast.AST) -> Iterator[str | None]:
    """The family of each call of the registry that imports a component; None where it is a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "registry.load",
            "registry.create",
            "registry.keys",
        ):
            family = node.args[0]
            yield family.value if isinstance(family, ast.Constant) else None


def test_a_component_is_asked_for_by_its_own_room_or_one_above() -> None:
    package = Path(registry.__file__).parents[1]
    highest = max(registry.FAMILIES.values(), key=floor)
    complaints = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if "/" not in name:
            continue
        for family in asked_families(ast.parse(path.read_text(encoding="utf-8"))):
            home = highest if family is None else registry.FAMILIES[family]
            if floor(name) < floor(home):
                complaints.append(f"{name} asks for a component of {family or 'any family'}")
    assert not complaints


# What CONTRIBUTING.md teaches; that its examples work, `test_examples.py` shows.

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
EXAMPLES = GUIDE.parent / "docs" / "examples"
TAUGHT = {
    "a loss": ["losses"],
    "a range": ["ranges"],
    "a task": ["tasks"],
    "an exporter": ["exporters", "runtimes"],
}


@pytest.mark.parametrize(("one", "families"), TAUGHT.items(), ids=list(TAUGHT))
def test_the_guide_adds_each_kind_in_four_steps(one: str, families: list[str]) -> None:
    section = GUIDE.read_text(encoding="utf-8").split(f"## Add {one}\n")[1].split("\n## ")[0]
    assert re.findall(r"^(\d)\. ", section, re.MULTILINE) == ["1", "2", "3", "4"]
    for family in families:
        home = registry.FAMILIES[family].replace(".", "/")
        assert f"`src/limbeck/{home}/NAME.py`" in section
        contract = f"src/limbeck/{home}/__init__.py"
        assert f"`{contract}`" in section
        assert (GUIDE.parent / contract).read_text(encoding="utf-8").startswith('"""')
        (example,) = (EXAMPLES / family).glob("*.py")
        assert f"`docs/examples/{family}/{example.name}`" in section


def test_every_example_is_in_the_guide() -> None:
    taught = [family for families in TAUGHT.values() for family in families]
    assert sorted(taught) == sorted(folder.name for folder in EXAMPLES.iterdir())


def test_the_guide_shows_a_whole_example() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown == (EXAMPLES / "losses" / "hellinger.py").read_text(encoding="utf-8")
