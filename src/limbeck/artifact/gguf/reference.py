"""Decoders computed in numpy, one document at a time: what runtimes are held against.

For `llama`, `qwen2`, `qwen3` and `gpt2`. With `rounds` activations are rounded before each product
as llama.cpp rounds them (`rounding`), without it the model is computed in float32, as transformers
does. Tensors are called and laid out as transformers has them.

Legend: T tokens, V vocabulary, D width, H query heads, K key heads, W width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.artifact.gguf import decoders
from limbeck.artifact.gguf.decoders import Sizes
from limbeck.artifact.gguf.file import GgufFile
from limbeck.artifact.gguf.folder import ModelFolder
from limbeck.artifact.gguf.rounding import IN_BLOCKS, rounded

# A tensor by transformers' name: its values and its type in GGUF; None where the model has none.
Read = Callable[[str], tuple[np.ndarray, str] | None]
# Tokens whose logits are computed at a time: of 150,000 words 75 MB.
CHUNK = 128


@dataclass(frozen=True)
class Rounding:
    """What is rounded. `products`: activations before a product with a weight; `cache`: keys and
    values, and what they are multiplied with, to fp16, which is llama.cpp's default; `halves`:
    scales of activations to fp16, and GELU by a table of such numbers, as llama.cpp has them; `by`:
    what rounds activations before products with integers, where that is not llama.cpp's way."""

    products: bool
    cache: bool
    halves: bool = True
    last_bits: float = 0.0
    """Relative spread by which each product is moved by chance: what another order of additions
    does. Two runs tell how far the model moves by that alone."""
    by: Callable[[np.ndarray], np.ndarray] | None = None

    def rounded(self, x: np.ndarray, kind: str) -> np.ndarray:
        """Activations (T, I) as a product with weights of that type takes them."""
        if not self.products:
            return x
        if self.by is not None:
            return self.by(x) if kind in IN_BLOCKS else x
        return rounded(x, kind, np.float16 if self.halves else np.float32)


FLOAT = Rounding(products=False, cache=False)
AS_LLAMA_CPP = Rounding(products=True, cache=True)
# A model whose activations were int8 in training, by token and group (`activations: int8-dynamic`).
AS_TRAINED = Rounding(products=True, cache=False, halves=False)
# Of float32 products of some hundred terms, against float64.
LAST_BITS = 2.0**-22
# Of llama.cpp's GELU.
END_OF_TABLE = 10


class Decoder:
    """A model in numpy. `read` gives its tensors; each is read once and kept."""

    def __init__(self, sizes: Sizes, read: Read, rounding: Rounding = FLOAT) -> None:
        self.sizes = sizes
        self.read = read
        self.rounding = rounding
        self.kept: dict[str, tuple[np.ndarray, str] | None] = {}
        self.chance = np.random.default_rng(0)

    def tensor(self, name: str) -> tuple[np.ndarray, str] | None:
        """A tensor's values and type; None where the model has none."""
        if name not in self.kept:
            self.kept[name] = self.read(name)
        return self.kept[name]

    def values(self, name: str) -> np.ndarray:
        """A tensor that must be there. Raises ValueError where it is not."""
        found = self.tensor(name)
        if found is None:
            raise ValueError(f"the model has no tensor {name}")
        return found[0]

    def log_probabilities(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each token but the first, its log-probability in nats after those before it, and the
        likeliest token there: (T - 1) float64, (T - 1) int64."""
        # What follows the last token is not asked.
        hidden = self.hidden(tokens)[:-1]
        found = []
        greedy = []
        for start in range(0, len(hidden), CHUNK):
            end = start + CHUNK
            logits = self.logits_of(hidden[start:end])
            # The sum of 150,000 exponentials is no float32's.
            logits = logits.astype(np.float64)
            labels = tokens[1:][start:end, None]
            found.append(_log_shares(logits, labels))
            greedy.append(logits.argmax(axis=1))
        return np.concatenate(found), np.concatenate(greedy)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """All logits (T, V), float32."""
        hidden = self.hidden(tokens)
        return self.logits_of(hidden)

    def one_by_one(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """(1, T, V) logits of inputs that hold one text: the model as a graph of an artifact.
        Raises ValueError for several."""
        ids = inputs["input_ids"]
        if len(ids) != 1:
            raise ValueError(f"the reference reads one text at a time, not {len(ids)}")
        return self.logits(ids[0])[None]

    def logits_of(self, hidden: np.ndarray) -> np.ndarray:
        """Logits of what the last norm gives; the table of embeddings where the output has none of
        its own."""
        is_tied = self.tensor("lm_head.weight") is None
        name = self.table if is_tied else "lm_head"
        return self.product(hidden, name)

    @property
    def is_gpt2(self) -> bool:
        """Whether positions are added and layers have means and biases, as in 2019."""
        return self.sizes.architecture == "gpt2"

    @property
    def table(self) -> str:
        """What transformers calls the embeddings."""
        return "transformer.wte" if self.is_gpt2 else "model.embed_tokens"

    def hidden(self, tokens: np.ndarray) -> np.ndarray:
        """What the output projection reads (T, D). Raises ValueError for more tokens than the
        model has positions, and for a token it has no row for."""
        sizes = self.sizes
        table = self.values(f"{self.table}.weight")
        highest = tokens.max()
        if len(tokens) > sizes.context or highest >= len(table):
            count = len(tokens)
            rows = len(table)
            raise ValueError(
                f"{count} tokens up to number {highest}; the model takes {sizes.context} of {rows}"
            )
        # Rows of a table of integers are looked up and not multiplied: nothing is rounded here.
        x = table[tokens]
        if self.is_gpt2:
            positions = self.values("transformer.wpe.weight")
            x = x + positions[: len(tokens)]
            for layer in range(sizes.layers):
                x = self.layer_of_gpt2(x, f"transformer.h.{layer}")
            return self.layer_norm(x, "transformer.ln_f")
        for layer in range(sizes.layers):
            x = self.layer_of_llama(x, f"model.layers.{layer}")
        return self.rms_norm(x, "model.norm")

    def layer_of_llama(self, x: np.ndarray, layer: str) -> np.ndarray:
        """One layer: attention and a gated feed-forward network, each beside a residual."""
        # 1. Attention; the rotary embedding turns queries and keys and leaves values alone.
        normed = self.rms_norm(x, f"{layer}.input_layernorm")
        attention = f"{layer}.self_attn"
        query = self.turned(
            self.product(normed, f"{attention}.q_proj"),
            norm=f"{attention}.q_norm",
        )
        key = self.turned(
            self.product(normed, f"{attention}.k_proj"),
            norm=f"{attention}.k_norm",
        )
        value = self.product(normed, f"{attention}.v_proj")
        attended = self.attention(query, key, value)
        x = x + self.product(attended, f"{attention}.o_proj")
        # 2. SwiGLU (arXiv 2002.05202).
        normed = self.rms_norm(x, f"{layer}.post_attention_layernorm")
        gate = self.product(normed, f"{layer}.mlp.gate_proj")
        up = self.product(normed, f"{layer}.mlp.up_proj")
        opened = gate / (1 + np.exp(-gate))
        return x + self.product(opened * up, f"{layer}.mlp.down_proj")

    def layer_of_gpt2(self, x: np.ndarray, layer: str) -> np.ndarray:
        """One layer of GPT-2: query, key and value in one product, and GELU."""
        normed = self.layer_norm(x, f"{layer}.ln_1")
        together = self.product(normed, f"{layer}.attn.c_attn")
        query, key, value = np.split(together, 3, axis=1)
        attended = self.attention(query, key, value)
        x = x + self.product(attended, f"{layer}.attn.c_proj")
        normed = self.layer_norm(x, f"{layer}.ln_2")
        inner = self.product(normed, f"{layer}.mlp.c_fc")
        bent = self.gelu(inner)
        return x + self.product(bent, f"{layer}.mlp.c_proj")

    def gelu(self, x: np.ndarray) -> np.ndarray:
        """GELU in its tanh form (Hendrycks and Gimpel, 2016, arXiv 1606.08415), which llama.cpp
        looks up in a table of fp16."""
        rounds = self.rounding.products and self.rounding.halves
        taken = halved(x) if rounds else x
        cubed = taken + 0.044715 * taken**3
        factor = np.sqrt(np.float32(2 / np.pi))
        bent = np.tanh(factor * cubed)
        y = taken * (1 + bent) / 2
        if not rounds:
            return y
        # Beyond the table it is x, or nothing.
        beyond = np.maximum(x, 0)
        is_in_table = np.abs(x) < END_OF_TABLE
        return np.where(is_in_table, halved(y), beyond)

    def product(self, x: np.ndarray, name: str) -> np.ndarray:
        """x (T, I) through the linear module of that name, with its bias where it has one."""
        weight = self.values(f"{name}.weight")
        _, kind = self.tensor(f"{name}.weight") or (weight, "F32")
        x = self.rounding.rounded(x, kind)
        is_turned = decoders.is_turned(f"{name}.weight", self.sizes)
        # Products of integers with scales are, but for the last bits, those of what they stand for.
        y = x @ (weight if is_turned else weight.T)
        bias = self.tensor(f"{name}.bias")
        if bias is not None:
            y = y + bias[0]
        if self.rounding.last_bits:
            moved = self.chance.standard_normal(y.shape)
            y = y * (1 + self.rounding.last_bits * moved)
        return y.astype(np.float32)

    def turned(self, x: np.ndarray, norm: str) -> np.ndarray:
        """Queries or keys (T, heads * W), normed where the model does that, and turned by their
        position (RoFormer, arXiv 2104.09864): number i of a head with number i + W / 2."""
        width = self.sizes.head_width
        heads = x.reshape(len(x), -1, width)
        if self.tensor(f"{norm}.weight") is not None:
            heads = self.rms_norm(heads, norm)
        exponents = np.arange(0, width, 2) / width
        positions = np.arange(len(x))[:, None]
        # In float64: at position 8,000 an angle in float32 is off by a thousandth.
        angles = positions * self.sizes.rope_base**-exponents
        # One angle for all heads of a token.
        angles = angles[:, None]
        cos = np.cos(angles).astype(np.float32)
        sin = np.sin(angles).astype(np.float32)
        first, second = np.split(heads, 2, axis=-1)
        turned_first = first * cos - second * sin
        turned_second = second * cos + first * sin
        whole = np.concatenate([turned_first, turned_second], axis=-1)
        return whole.reshape(x.shape)

    def attention(self, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Causal attention (T, H * W); several query heads read one key head."""
        sizes = self.sizes
        length = len(query)
        if self.rounding.cache:
            # What is multiplied with a number of fp16 becomes one itself.
            query, key, value = halved(query), halved(key), halved(value)
        # (K, H / K, T, W), and of keys and values (K, 1, T, W).
        each = sizes.heads // sizes.key_heads
        queries = _by_head(query, sizes.key_heads, each)
        keys = _by_head(key, sizes.key_heads, 1)
        values = _by_head(value, sizes.key_heads, 1)
        root = np.float32(np.sqrt(sizes.head_width))
        scores = queries @ keys.swapaxes(-1, -2)
        scores = scores / root
        everywhere = np.ones((length, length), bool)
        later = np.triu(everywhere, 1)
        scores[..., later] = -np.inf
        highest = scores.max(axis=-1, keepdims=True)
        shares = np.exp(scores - highest)
        shares /= shares.sum(axis=-1, keepdims=True)
        if self.rounding.cache:
            shares = halved(shares)
        mixed = shares @ values
        return mixed.transpose(2, 0, 1, 3).reshape(length, -1)

    def rms_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """x over the root of its mean square (arXiv 1910.07467)."""
        squares = x * x
        mean = _mean(squares)
        root = np.sqrt(mean + self.epsilon)
        weight = self.values(f"{name}.weight")
        return x / root * weight

    def layer_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """x less its mean, over its deviation (Ba et al., 2016, arXiv 1607.06450)."""
        centred = x - _mean(x)
        squares = centred * centred
        deviation = np.sqrt(_mean(squares) + self.epsilon)
        weight = self.values(f"{name}.weight")
        bias = self.values(f"{name}.bias")
        return centred / deviation * weight + bias

    @property
    def epsilon(self) -> np.float32:
        """What keeps a norm from dividing by nothing; float32, as all it is added to."""
        return np.float32(self.sizes.epsilon)


def halved(x: np.ndarray) -> np.ndarray:
    """Rounded to fp16."""
    return x.astype(np.float16).astype(np.float32)


def _mean(x: np.ndarray) -> np.ndarray:
    """The mean over the last axis, which is kept."""
    return x.mean(axis=-1, keepdims=True)


def _by_head(x: np.ndarray, key_heads: int, each: int) -> np.ndarray:
    """Heads first: (T, K * each * W) as (K, each, T, W)."""
    heads = x.reshape(len(x), key_heads, each, -1)
    return heads.transpose(1, 2, 0, 3)


def _log_shares(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-probabilities (T) of the labels (T, 1) by logits (T, V)."""
    highest = logits.max(axis=1, keepdims=True)
    total = np.exp(logits - highest).sum(axis=1)
    at = np.take_along_axis(logits, labels, axis=1)
    return at[:, 0] - highest[:, 0] - np.log(total)


def of_file(opened: GgufFile, rounding: Rounding = FLOAT) -> Decoder:
    """A GGUF file's model. Raises ValueError for an architecture that is not known here."""
    sizes = decoders.sizes_of_metadata(opened.metadata)

    def read(name: str) -> tuple[np.ndarray, str] | None:
        own_name = decoders.gguf_name(name, sizes.architecture)
        if own_name is None or own_name not in opened.tensors:
            return None
        found = decoders.from_gguf(name, opened.values(own_name), sizes)
        return found, opened.tensors[own_name].type

    return Decoder(sizes, read, rounding)


def of_folder(folder: ModelFolder) -> Decoder:
    """A transformers folder's model, in float32."""
    sizes = decoders.sizes_of_config(folder.config)

    def read(name: str) -> tuple[np.ndarray, str] | None:
        return (folder.values(name), "F32") if name in folder.places else None

    return Decoder(sizes, read)
