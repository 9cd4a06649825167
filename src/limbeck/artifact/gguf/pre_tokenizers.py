"""How byte-level tokenizers split a text before they merge bytes, by llama.cpp's names for it.

llama.cpp knows a splitting by its name alone (`tokenizer.ggml.pre`): where the name is missing or
another one's, numbers and blanks are cut otherwise than the model has learned, and nothing says so.
A tokenizer's name is found by what it does: the one whose pieces of a text of hard cases are the
same. The expressions are llama.cpp's (src/llama-vocab.cpp), in the words of `tokenizers`.
"""

from tokenizers import Regex, Tokenizer, pre_tokenizers

WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
# Of GPT-4's kind: endings in capitals as well, lines apart, so many digits at a time.
LINES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"

# Name -> the expressions, one after the other, whose matches are cut out as pieces.
EXPRESSIONS = {
    "gpt-2": (WORDS,),
    "smollm": (r"\p{N}", WORDS),
    "qwen2": (LINES.replace("DIGITS", ""),),
    "llama-bpe": (LINES.replace("DIGITS", "{1,3}"),),
    # What llama.cpp takes where a file names none.
    "default": (PUNCTUATION, WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
}
# Other names of the same expressions.
SAME = {
    "gpt-2": ("mpt", "olmo", "jais", "phi-2", "gigachat", "roberta-bpe"),
    "smollm": ("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    "qwen2": ("stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"),
}
# Those after which a piece that is a token as it stands is not merged from its bytes.
IGNORING_MERGES = ("llama-bpe",)

# Every two of the expressions cut it otherwise; blanks, lines, numbers, endings, other scripts.
HARD_CASES = (
    "It's THEY'LL we'Re 1234567 a1b22 x  y   z\n\n\tline\r\n  end \n $3.14+2=<|x|>~^ "
    "naïve ΑΒΓ 你好，世界 देवनागरी ٣٤٥ ½ ２０２６ 🙂👍🏽 e\u0301 \u00a0nbsp ...!? --_foo_bar  "
)


def name_of(tokenizer: Tokenizer) -> str | None:
    """The name of a byte-level tokenizer's splitting; None where llama.cpp has none for it that is
    known here."""
    # An expression may be written in many ways; what it cuts is what counts.
    own = pieces(tokenizer.pre_tokenizer)
    found = (name for name in EXPRESSIONS if pieces(splitter(name)) == own)
    return next(found, None)


def known_name(name: str) -> str | None:
    """The name among `EXPRESSIONS` that means the same; None for one that is not known."""
    if name in EXPRESSIONS:
        return name
    return next((own for own, others in SAME.items() if name in others), None)


def splitter(name: str) -> pre_tokenizers.PreTokenizer:
    """The splitting of that name, with bytes as letters, as byte-level tokenizers have them."""
    steps = [
        pre_tokenizers.Split(Regex(expression), behavior="isolated")
        for expression in EXPRESSIONS[name]
    ]
    to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*steps, to_letters])


def pieces(how: pre_tokenizers.PreTokenizer | None) -> list[str]:
    """The pieces of the text of hard cases."""
    if how is None:
        return [HARD_CASES]
    return [piece for piece, _ in how.pre_tokenize_str(HARD_CASES)]
