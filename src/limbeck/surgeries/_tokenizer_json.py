"""A tokenizer.json as data: its tokens, those that no trimming may touch, and the same tokenizer
with fewer of them. The format is that of the library `tokenizers`."""

import copy
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Json = dict[str, Any]

# The kinds of tokenizer that can be trimmed.
KINDS = ("WordPiece", "BPE", "Unigram")

# How a byte is written as a token, for characters that are no token themselves.
BYTE = re.compile(r"<0x[0-9A-F]{2}>")

# How pieces of a Unigram begin a word.
SPACE = "▁"

# The entries of a post-processor that are [token, id].
TOKEN_AND_ID = ("cls", "sep")


@dataclass(frozen=True)
class TokenizerJson:
    """`content`: the parsed file."""

    content: Json

    @classmethod
    def parse(cls, text: str) -> "TokenizerJson":
        """Raises ValueError for a kind of tokenizer that is not known here."""
        content = json.loads(text)
        kind = content["model"].get("type")
        if kind not in KINDS:
            raise ValueError(
                f"trim_vocabulary: the tokenizer is a {kind}, "
                f"and only {', '.join(KINDS)} are trimmed. Take another surgery"
            )
        return cls(content)

    @property
    def model(self) -> Json:
        """The part of the file that holds the vocabulary."""
        return self.content["model"]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id, without added tokens that stand beside the model's."""
        vocabulary = self.model["vocab"]
        if isinstance(vocabulary, dict):
            return vocabulary
        # A Unigram's is a list of [token, log-probability].
        return {token: index for index, (token, _) in enumerate(vocabulary)}

    @cached_property
    def merges(self) -> list[tuple[str, str, str]]:
        """(first, second, what they become) of a BPE; nothing for the other kinds."""
        prefix = self.model.get("continuing_subword_prefix") or ""
        merges = []
        for pair in self.model.get("merges", []):
            # Older files write "first second", newer ones ["first", "second"].
            first, second = pair.split(" ") if isinstance(pair, str) else pair
            merges.append((first, second, first + second.removeprefix(prefix)))
        return merges

    @property
    def padding_id(self) -> int:
        """The id that fills up texts; -1 where the file says none."""
        padding = self.content["padding"]
        return -1 if padding is None else int(padding["pad_id"])

    @cached_property
    def always_kept(self) -> set[int]:
        """Ids that stay whatever is seen.

        Those of added tokens, mentioned by the post-processor, of the unknown token, of single
        characters and of bytes.
        """
        kept = set(mentioned(self.content.get("post_processor")))
        kept.update(token["id"] for token in self.content["added_tokens"])
        for token, index in self.ids.items():
            if len(self.bare(token)) <= 1 or BYTE.fullmatch(token):
                kept.add(index)
        unknown = self.model.get("unk_id")
        if unknown is None:
            unknown = self.ids.get(self.model.get("unk_token") or "")
        if unknown is not None:
            kept.add(unknown)
        return kept

    def bare(self, token: str) -> str:
        """The characters of a text that a token stands for.

        Without the marks of a word's beginning, middle or end.
        """
        middle = self.model.get("continuing_subword_prefix") or ""
        end = self.model.get("end_of_word_suffix") or ""
        return token.removeprefix(middle).removesuffix(end).removeprefix(SPACE)

    def with_merged(self, wanted: set[int]) -> set[int]:
        """`wanted`, and all that a BPE merges to make it."""
        tokens = {index: token for token, index in self.ids.items()}
        parts: dict[str, list[str]] = {}
        for first, second, merged in self.merges:
            parts.setdefault(merged, []).extend((first, second))
        closed = set(wanted)
        waiting = list(wanted)
        while waiting:
            token = tokens.get(waiting.pop(), "")
            ids = {self.ids[part] for part in parts.get(token, [])}
            # Only what is new, so that the loop ends.
            waiting.extend(ids - closed)
            closed |= ids
        return closed

    def within(self, texts: Iterable[str]) -> set[int]:
        """The tokens that stand for a part of one of some normalized texts."""
        # One search a token, over all texts at once.
        whole = "\n".join(texts)
        return {index for token, index in self.ids.items() if self.bare(token) in whole}

    def keeping(self, kept: Sequence[int]) -> str:
        """The text of the tokenizer with the tokens `kept` alone, numbered anew in this order."""
        new_ids = {old: new for new, old in enumerate(kept)}
        # A copy: the whole tokenizer is read again when a text does not fit the smaller one.
        content = copy.deepcopy(self.content)
        self.keep_vocabulary(content["model"], new_ids)
        for token in content["added_tokens"]:
            token["id"] = new_ids[token["id"]]
        padding = content["padding"]
        # A file that does not pad has null there.
        if padding is not None:
            padding["pad_id"] = new_ids[padding["pad_id"]]
        content["post_processor"] = renumbered(content.get("post_processor"), new_ids)
        return json.dumps(content, ensure_ascii=False)

    def keep_vocabulary(self, model: Json, new_ids: dict[int, int]) -> None:
        """Leave the other tokens, and the merges of a BPE that need them, out of a copy's model."""
        tokens = {}
        for token, index in self.ids.items():
            if index in new_ids:
                tokens[token] = new_ids[index]
        if isinstance(model["vocab"], list):
            model["vocab"] = [
                piece for index, piece in enumerate(model["vocab"]) if index in new_ids
            ]
            # The only id inside of a model; the other kinds name the unknown token.
            model["unk_id"] = new_ids.get(model["unk_id"])
        else:
            model["vocab"] = tokens
        if "merges" in model:
            merges = []
            for pair, named in zip(model["merges"], self.merges, strict=True):
                # Of the parts and of what they become: the library refuses a merge of tokens that
                # are not there.
                if all(token in tokens for token in named):
                    merges.append(pair)
            model["merges"] = merges


def mentioned(node: Any) -> Iterator[int]:
    """The ids in a post-processor: `ids` of a template, the second of `cls` and of `sep`."""
    if isinstance(node, list):
        for child in node:
            yield from mentioned(child)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ids":
                yield from value
            elif key in TOKEN_AND_ID:
                yield value[1]
            else:
                yield from mentioned(value)


def renumbered(node: Any, new_ids: dict[int, int]) -> Any:
    """A post-processor with other ids."""
    if isinstance(node, list):
        return [renumbered(child, new_ids) for child in node]
    if not isinstance(node, dict):
        return node
    copied = {}
    for key, value in node.items():
        if key == "ids":
            copied[key] = [new_ids[index] for index in value]
        elif key in TOKEN_AND_ID:
            token, index = value
            copied[key] = [token, new_ids[index]]
        else:
            copied[key] = renumbered(value, new_ids)
    return copied
