"""A tokenizer.json as data: its tokens, those that no trimming may touch, and the same tokenizer with fewer of them."""

import copy
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

KINDS = ("WordPiece", "BPE", "Unigram")
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"  # how pieces of Unigram begin a word


@dataclass(frozen=True)
class Vocabulary:
    """`content`: the parsed file."""

    content: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "Vocabulary":
        """Raises ValueError for a kind of tokenizer that is not known here."""
        content = json.loads(text)
        kind = content["model"].get("type")
        if kind not in KINDS:
            raise ValueError(
                f"trim_vocabulary: the tokenizer is a {kind}, and only {', '.join(KINDS)} are trimmed. Take another surgery"
            )
        return cls(content)

    @property
    def model(self) -> dict[str, Any]:
        return self.content["model"]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id, without added tokens that stand beside the model's."""
        vocabulary = self.model["vocab"]
        return (
            {token: i for i, (token, _) in enumerate(vocabulary)}
            if isinstance(vocabulary, list)
            else vocabulary
        )

    @cached_property
    def merges(self) -> list[tuple[str, str, str]]:
        """(first, second, what they become) of a BPE."""
        pairs = [
            pair.split(" ") if isinstance(pair, str) else pair
            for pair in self.model.get("merges", [])
        ]
        prefix = self.model.get("continuing_subword_prefix") or ""
        return [(first, second, first + second.removeprefix(prefix)) for first, second in pairs]

    @cached_property
    def always(self) -> set[int]:
        """Ids that stay: up to padding's, added, mentioned by the post-processor, unknown, single characters and bytes."""
        found = {
            *range(self.content["padding"]["pad_id"] + 1),
            *mentioned(self.content.get("post_processor")),
        }
        found |= {token["id"] for token in self.content["added_tokens"]}
        found |= {
            i
            for token, i in self.ids.items()
            if len(self.bare(token)) <= 1 or BYTE.fullmatch(token)
        }
        unknown = self.model.get("unk_id", self.ids.get(self.model.get("unk_token") or ""))
        return found if unknown is None else found | {unknown}

    def bare(self, token: str) -> str:
        """The characters of a text that a token stands for, without the marks of a word's beginning, middle or end."""
        middle, end = (
            self.model.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix")
        )
        return token.removeprefix(middle).removesuffix(end).removeprefix(SPACE)

    def closed(self, wanted: set[int]) -> set[int]:
        """`wanted` with all that a BPE merges to make it."""
        names = {i: token for token, i in self.ids.items()}
        parts: dict[str, list[str]] = {}
        for first, second, made in self.merges:
            parts.setdefault(made, []).extend((first, second))
        found, open_ids = set(wanted), list(wanted)
        while open_ids:
            more = {self.ids[part] for part in parts.get(names.get(open_ids.pop(), ""), [])} - found
            found |= more
            open_ids += more
        return found

    def within(self, texts: Iterable[str]) -> set[int]:
        """The tokens that stand for a part of one of some normalized texts."""
        whole = "\n".join(texts)
        return {i for token, i in self.ids.items() if self.bare(token) in whole}

    def keeping(self, kept: list[int]) -> str:
        """The text of the tokenizer with the tokens `kept`, sorted, numbered anew in this order."""
        new = {old: index for index, old in enumerate(kept)}
        content = copy.deepcopy(self.content)
        model, tokens = (
            content["model"],
            {token: new[i] for token, i in self.ids.items() if i in new},
        )
        if isinstance(model["vocab"], list):
            model["vocab"] = [piece for i, piece in enumerate(model["vocab"]) if i in new]
            model["unk_id"] = new.get(model["unk_id"])
        else:
            model["vocab"] = tokens
        if "merges" in model:
            pairs = zip(model["merges"], self.merges, strict=True)
            model["merges"] = [
                pair for pair, parts in pairs if all(part in tokens for part in parts)
            ]
        for token in content["added_tokens"]:
            token["id"] = new[token["id"]]
        content["padding"]["pad_id"] = new[content["padding"]["pad_id"]]
        content["post_processor"] = renumbered(content.get("post_processor"), new)
        return json.dumps(content, ensure_ascii=False)


def mentioned(node: Any) -> Iterator[int]:
    """The ids in a post-processor: `ids` of a template, the second of `cls` and `sep`."""
    if isinstance(node, list):
        for each in node:
            yield from mentioned(each)
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "ids":
            yield from value
        elif key in ("cls", "sep"):
            yield value[1]
        else:
            yield from mentioned(value)


def renumbered(node: Any, new: dict[int, int]) -> Any:
    """A post-processor with other ids."""
    if isinstance(node, list):
        return [renumbered(each, new) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: renumbered(value, new) for key, value in node.items()}
    if "ids" in node:
        found["ids"] = [new[i] for i in node["ids"]]
    return found | {key: [node[key][0], new[node[key][1]]] for key in ("cls", "sep") if key in node}
