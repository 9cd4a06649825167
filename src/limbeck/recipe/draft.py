"""A recipe with mistakes: as much of it as is right, so that every other mistake can be found.

Whatever a rule refuses is mended where that is certain, and else left out; the same rules are then
asked again of what is left. What only follows from something that was left out is not told. Each
rule is the one that a run obeys: here they only all have their turn.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from limbeck.core.yaml12 import Repeated
from limbeck.recipe.components import (
    Create,
    NamedComponent,
    mistakes_of,
    named_components,
)
from limbeck.recipe.explaining import explained
from limbeck.recipe.model import Recipe
from limbeck.recipe.origin import Origin, at
from limbeck.recipe.problems import (
    Fix,
    Mistake,
    Problem,
    WrongRecipe,
    apply,
    key_of,
    parent_of,
)

# The name of a component that is not known, so that nothing is asked of it.
UNKNOWN = "?"
# What stands in for a stage that is broken as a whole; one that is not here is left out.
STAND_INS: dict[str, Any] = {
    "task": UNKNOWN,
    "data": {"source": UNKNOWN},
    "teacher": {"model": UNKNOWN},
    "assistant": {"model": UNKNOWN},
    "student": {"model": UNKNOWN},
    "train": {},
    "distill": {},
    "quantize": {},
    "verdict": {},
}
# Keys that name a component, and those that say what a model comes from.
NAMES = ("source", "model", "method", "surgery", "rounding", "range")
ORIGINS = (*NAMES, "from")
# Keys below which each entry stands for itself.
MAPS = ("losses", "equalize", "modules")
# Stages whose keys say nothing of one another, and of others those that do.
APART = ("verdict", "decide")
DECISIVE: dict[str, Sequence[str]] = {
    "quantize": (
        "when",
        "weights",
        "activations",
        "range",
        "rounding",
        "progressive",
        "switch_at",
        "start",
    ),
    "train": ("epochs", "augment", "views", "long_texts"),
}
# Each round leaves out or mends something, and a recipe has some hundred keys at most.
MOST_ROUNDS = 100


class Draft:
    """What of a recipe is right, as `recipe`, and the `problems` of the rest.

    `content`: plain data, changed as problems are found. `origin`: where its keys stand. `broken`:
    the paths of what was left out. `unasked`: components whose package is not installed here.
    """

    def __init__(
        self,
        content: Any,
        origin: Origin,
        problems: Sequence[Problem],
        repeated: Sequence[Repeated],
    ) -> None:
        self.content = copy.deepcopy(content)
        self.origin = origin
        self.problems = list(problems)
        for key in repeated:
            self.problems.append(at(key.mark, Problem(key.told, (key.name,), key.name)))
        self.broken: set[tuple[str, ...]] = set()
        self.unasked: list[str] = []
        self._renamed: dict[tuple[str, ...], str] = {}
        self.recipe = self._read()

    @classmethod
    def of(cls, recipe: Recipe) -> "Draft":
        """The draft of a recipe that could be read."""
        draft = cls(recipe.dump(), recipe._origin, [], [])
        # The very same, with what its validators have made of it.
        draft.recipe = recipe
        return draft

    @property
    def error(self) -> WrongRecipe:
        """All problems as an error to be raised."""
        return WrongRecipe(self.problems)

    def take(self, mistakes: Iterable[Mistake]) -> bool:
        """Note mistakes and mend the recipe, or leave out what is wrong; whether there were any.

        A mistake of what was left out before only follows from that, and is not told.
        """
        found = list(mistakes)
        if found:
            self._mend(found)
            self.recipe = self._read()
        return bool(found)

    def note(self, mistakes: Iterable[Mistake], *, is_placed: bool = False) -> None:
        """Note mistakes of settings that do not go with each other, and leave the recipe as it is.

        Not those in a stage of which a value is not known: it may be the one that goes with them.
        `is_placed`: as of `Problem`.
        """
        for mistake in mistakes:
            stage = mistake.path[0]
            is_asked = stage in APART or self.is_known(stage)
            if is_asked and not self._follows(mistake.path):
                self._note(mistake, mistake.fix, is_placed=is_placed)

    def is_known(self, stage: str) -> bool:
        """Whether no value of a stage that says something of others had to be left out."""
        for path in self.broken:
            if path[0] != stage:
                continue
            # Of several losses, or modules, each stands for itself.
            key = path[1] if len(path) > 1 else None
            decides = key in DECISIVE[stage] if stage in DECISIVE else key not in MAPS
            if key is None or decides:
                return False
        return True

    def skip_bad_rows(self) -> bool:
        """Read the data without the bad rows, which were told; whether that is any change."""
        data = self.content["data"]
        if data.get("on_bad_row") == "skip":
            return False
        # No mistake of the user, so that nothing is told of it.
        data["on_bad_row"] = "skip"
        self.recipe = self._read()
        return True

    def ask_components(self, create: Create, stages: Sequence[str] | None = None) -> None:
        """Create every component that is named (in some `stages`), and note what each refuses."""
        asked: set[str] = set()
        for _ in range(MOST_ROUNDS):
            mistakes: list[Mistake] = []
            for component in self.components():
                told = f"{component.path} {component.name} {component.options}"
                is_asked = stages is None or component.path[0] in stages
                if told in asked or not is_asked:
                    continue
                asked.add(told)
                try:
                    mistakes += mistakes_of(component, create)
                except ModuleNotFoundError:
                    self.unasked.append(component.name)
            if not self.take(mistakes):
                return

    def components(self) -> Iterator[NamedComponent]:
        """The components whose names are known."""
        for component in named_components(self.recipe):
            if component.name != UNKNOWN:
                yield component

    def _read(self) -> Recipe:
        """The recipe that the content is, once it is mended.

        Raises WrongRecipe where nothing of it can be read.
        """
        for _ in range(MOST_ROUNDS):
            try:
                recipe = Recipe.model_validate(self.content)
            except ValidationError as error:
                before = copy.deepcopy(self.content)
                self._mend(list(explained(error, before)))
                if self.content == before:
                    break
            else:
                recipe._origin = self.origin
                return recipe
        raise self.error

    def _mend(self, mistakes: Sequence[Mistake]) -> None:
        """Note mistakes, and mend the content or leave out what is wrong."""
        # From the end of lists, so that the places of what comes before stay.
        renamed: set[tuple[str, ...]] = set()
        for mistake in reversed(mistakes):
            path = tuple(mistake.path)
            fix = mistake.fix
            # A key that was missing is there, once the slip in its name is mended.
            if path in renamed:
                continue
            if fix and not apply(fix, self.content):
                fix = None
            if not self._follows(path):
                self._note(mistake, fix)
            if fix and fix.name:
                new = (*fix.path[:-1], fix.name)
                self._renamed[new] = fix.path[-1]
                renamed.add(new)
            if mistake.lacks:
                # As if it were there: nothing more is told of its lack.
                self.content[mistake.lacks] = copy.deepcopy(STAND_INS[mistake.lacks])
                self.broken.add((mistake.lacks,))
            elif path and not fix:
                self._leave_out(path, is_unknown=mistake.is_unknown)

    def _note(self, mistake: Mistake, fix: Fix | None, *, is_placed: bool = False) -> None:
        """Keep a mistake, with the keys as they were written."""
        if fix:
            fix = Fix(self._written(fix.path), fix.name, fix.value)
        path = self._written(mistake.path)
        problem = self.origin.problem(path, mistake.message, fix)
        self.problems.append(replace(problem, is_placed=is_placed))

    def _written(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path with its keys as they stand in the text, before any was mended."""
        numbers = range(len(path))
        return tuple(self._renamed.get(tuple(path[: n + 1]), path[n]) for n in numbers)

    def _follows(self, path: Sequence[str]) -> bool:
        """Whether a mistake is of what was left out, or of a stage that has lost its name by it."""
        own = tuple(path)
        # A rule of a whole stage may be right with the value that was meant.
        if len(own) == 1 and not self.is_known(own[0]):
            return True
        for one in self.broken:
            has_lost_name = one[-1] in ORIGINS and one[: len(own)] == own
            if own[: len(one)] == one or has_lost_name:
                return True
        return False

    def _leave_out(self, path: tuple[str, ...], *, is_unknown: bool = False) -> None:
        """Take away what stands at a path, or put in its place what nothing is asked of."""
        # What is no key at all said nothing of others.
        if not is_unknown:
            self.broken.add(path)
        last = path[-1]
        if len(path) == 1:
            stand_in = STAND_INS.get(last)
            # Where that is refused too the stage cannot be: it lacks another one.
            if stand_in is None or self.content.get(last) == stand_in:
                self.content.pop(key_of(self.content, last), None)
            else:
                self.content[last] = copy.deepcopy(stand_in)
            return
        parent = parent_of(self.content, path)
        key = key_of(parent, last)
        if isinstance(parent, dict) and last in NAMES:
            parent[last] = UNKNOWN
        elif isinstance(parent, dict) and key is not None:
            del parent[key]
        # A list without one of its items is not what was meant. What has no parent is gone already.
        elif parent is not None:
            self._leave_out(path[:-1])
