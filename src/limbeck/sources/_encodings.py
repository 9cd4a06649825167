"""What encoding the bytes of a text most likely have, where they are not UTF-8.

Each encoding reads the same bytes as other letters. Of each reading the mean log-likelihood is
taken under the languages that are written in it: letter number r of a language, by how often it
comes, has a probability in proportion to 1 / (r + 2) (Zipf, 1949; Mandelbrot, 1953). Letters of
Europe stand alone among those of ASCII, letters of other scripts side by side. A reading that is
not ahead of all that give another text is no answer: a model would be trained on the wrong one.

A library would do, and guesses worse for what is short: charset-normalizer 3.5.3 reads a French
table of four rows in Windows-1252 as Windows-1250.
"""

import codecs
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SAMPLE_BYTES = 1 << 14  # of lines that are not ASCII, by which the encoding is told
FEW = 0.01  # of all bytes
SHOWN_CHARACTERS = 40
SHOWN_BEFORE = 10  # characters, of what is shown, before the first that is not ASCII
MOST_LIKELY = 3

# Languages, their letters beyond ASCII by how often they come; of Chinese, Japanese and Korean the
# characters that come most often.
LETTERS = {
    "western": (
        *("äüößéèàêçâîôûùïëœ", "éóáíñúü¿¡ºª", "ãçáéíóêõàâúôü", "äåöéü", "øåæéäöü"),
        *("íáðóöþúéæýäø", "èàòùìé", "àéèíóçòúïü", "ëéïöèüê", "äöõüšž"),
    ),
    "central": (
        *("ąęłżśóćńź", "íáéěřšžčýůúťďňó", "áíýéčžšúľôťäňďóĺŕ", "áéőöóüíúű", "ăîţâşșț"),
        *("čžšćđ", "äöüß"),
    ),
    "turkish": ("ıüşçğöİâîû",),
    "baltic": ("ėšųžįąčūę", "āīēšņļžūčķģ", "äõüöšž"),
    "cyrillic": (
        *("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", "оаинвтерсікулдмпязьбгйчхїцюжєщшф'ґ"),
        *("аиоентрвсдклзпмъбгуяйчжшхцщюфь", "аоеинтрсвјдкумлпбгзшчцжњхљћћфђџќѓѕ"),
    ),
    "greek": ("αοιετσνηυρπκμλςωάίδόήέγθχύφβξώζψϊϋ",),
    "hebrew": ("יוהלארמבתשנעםחדקטפגכצסןזךףץ",),
    "arabic": ("اليمونرتبةعدسفهكقحأجشطصىخإذزثضغظءئؤآچپگژ\u064b\u064e\u064f\u0650\u0651\u0652",),
    "thai": ("านรกอเงมยลว่ด้ทสตะปบัคหแจพชขใไโิีืึุูำผณถ์็ซธศฟษฐญภโฮฉฝฎฏๆ",),
    "simplified": (
        "的一是不了在人有我他这中大来上个国到说们为子和你地出会也时要就可以对生能而着事那得于"
        "里后自之去过家学多没好小都然心天很还看下起把给还吧吗呢真太用些样现发年没想只如但"
        "最前所本机店房电影书买住服务员非常点快新问题",
    ),
    "traditional": (
        "的一是不了在人有我他這中大來上個國到說們為子和你地出會也時要就可以對生能而著事那得於"
        "裡後自之去過家學多沒好小都然心天很還看下起把給吧嗎呢真太用些樣現發年想只如但最前所"
        "本機店房電影書買住服務員非常點快新問題",
    ),
    "japanese": (
        "のいにるとしをはてがなたでっかれまもすらこりーさくんきっうそけよみだおちえンスつめト"
        "どルろじわばアイリラせひほやあむげびずタコシテドフへごゆべぶロクレカマジサプメデグ"
        "日人本年大一中",
    ),
    "korean": (
        "이다는에의가을하고은지도기를한사리나인어로아대자서시그들있정해수요일거보부만안게"
        "여장구전라제동원마무비니음오면없네세상당저진연생조무너히습과던네",
    ),
}
# The encodings of each script, the usual one first.
ENCODINGS = {
    "western": ("cp1252", "mac_roman", "cp850"),
    "central": ("cp1250", "iso8859-2"),
    "turkish": ("cp1254",),
    "baltic": ("cp1257",),
    "cyrillic": ("cp1251", "koi8-u", "cp866", "iso8859-5", "mac_cyrillic"),
    "greek": ("cp1253", "iso8859-7"),
    "hebrew": ("cp1255",),
    "arabic": ("cp1256", "iso8859-6"),
    "thai": ("cp874",),
    "simplified": ("gb18030",),
    "traditional": ("cp950",),
    "japanese": ("cp932", "euc_jp"),
    "korean": ("cp949",),
}
ALONE = ("western", "central", "turkish", "baltic")  # scripts whose letters stand among ASCII's
# Nats a byte: one whose small letters are those of Windows-1251, and which few have ever used.
HANDICAP = {"mac_cyrillic": 0.1}
# Characters of a script that are none of its usual ones share what is left: some thousands.
RARE_OF = {"simplified": 6000, "traditional": 6000, "japanese": 3000, "korean": 2000}
# Marks that texts of any language hold.
MARKS = set("’‘“”„«»–—…•·°€£§©®™№\u00a0´×½¼²³")
WIDE_MARKS = set("，。！？、：；（）《》“”‘’…—「」『』【】～・　")

USUAL = 0.85  # of all characters beyond ASCII: the letters above
MARKED = 0.08
COMMON_MARKS = 4  # that are most of those of a text
UNLIKELY = math.log(1e-5)  # of another character
# Of a capital: at a word's beginning, within a word of capitals, behind a small letter.
CAPITALS = (math.log(0.1), math.log(0.4), math.log(0.003))
MIXED = math.log(0.001)  # of a letter of another script within a word of Latin ones
SIDE_BY_SIDE = math.log(0.2)  # of Latin letters beyond ASCII
# Of the best reading over the next one, in nats: in all, and for each byte beyond ASCII.
AHEAD = 6.0
AHEAD_OF_BYTE = 0.1
FEWEST = 4  # bytes beyond ASCII, of which another encoding is told
LEAST = -5.5  # nats a byte; of random bytes most letters are unlikely
WIDE = "utf-16-"


@dataclass(frozen=True)
class Reading:
    """What bytes would be in an encoding. `nats`: log-likelihood for each byte beyond ASCII.
    `shown`: a part of the text, about its first character beyond ASCII."""

    encoding: str
    nats: float
    text: str

    @property
    def shown(self) -> str:
        lines = (line.strip() for line in self.text.splitlines())
        line = next((line for line in lines if not line.isascii()), "")
        first = next((number for number, letter in enumerate(line) if ord(letter) > 127), 0)
        start = max(0, first - SHOWN_BEFORE)
        return line[start : start + SHOWN_CHARACTERS]

    @property
    def told(self) -> str:
        """The encoding and what it reads, for a message."""
        return f"{self.encoding} ({self.shown!r})"


@dataclass(frozen=True)
class Context:
    """A character beyond ASCII and its neighbours: whether a letter beyond ASCII, and one of ASCII,
    is beside it. `case`: of what is before it: 0 no letter, 1 a capital or a letter without case,
    2 a small letter."""

    letter: str
    is_beside_other: bool
    is_beside_ascii: bool
    case: int


@dataclass(frozen=True)
class Judgement:
    """The likeliest readings, the best first; `is_sure`: whether that one is far enough ahead."""

    readings: list[Reading]
    is_sure: bool

    @property
    def choices(self) -> str:
        """The readings, for a message."""
        shown = [each.told for each in self.readings[:MOST_LIKELY]]
        return " or ".join(shown) or "none that is known here"


def checked_codec(key: str, name: str) -> str:
    """The name of an encoding. Raises ValueError where Python has none of it for texts."""
    try:
        codecs.lookup(name)
        # `base64` and `rot13` are codecs too, and make no text of bytes.
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        raise ValueError(
            f"{key}: there is no `{name}` for texts. Take utf-8, utf-16, cp1252, cp1251, gb18030, "
            "cp932, cp949, big5 or another of Python's"
        ) from None
    return name


def without_nul(key: str, text: str) -> str:
    """The text. Raises ValueError for a NUL, where some tokenizers end: JSON and Parquet can hold
    one, and in lines it was found before."""
    if "\0" in text:
        raise ValueError(f"{key}: a NUL character. Remove it")
    return text


def checked_unicode(key: str, text: str) -> str:
    """The text. Raises ValueError where it holds half a character, which no file can, or a NUL."""
    without_nul(key, text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{key}: {error.object[error.start]!r} is half of a character (a lone surrogate). "
            "Remove it, or decode the text with errors='replace'"
        ) from None
    return text


def judge(lines: Iterable[bytes], num_bytes: int = 0) -> Judgement:
    """What lines that are not UTF-8 most likely are: as many of them as are enough. `num_bytes`:
    of all lines of the text, where these are some."""
    sample: list[bytes] = []
    num_sampled = 0
    for line in lines:
        if not line.isascii():
            sample.append(line[: SAMPLE_BYTES - num_sampled])
            num_sampled += len(sample[-1])
        if num_sampled >= SAMPLE_BYTES:
            break
    num_high = sum(byte > 127 for line in sample for byte in line)
    if not num_high:
        return Judgement([], False)
    best: dict[str, Reading] = {}
    for encoding, text, script in _decoded(sample):
        counts = _contexts(text)
        score = max(_score(counts, script, letters) for letters in LETTERS[script]) / num_high
        score -= HANDICAP.get(encoding, 0.0)
        # Encodings that give one text are one choice, the usual of them.
        before = best.setdefault(text, Reading(encoding, score, text))
        best[text] = Reading(before.encoding, max(score, before.nats), text)
    readings = sorted(best.values(), key=lambda reading: -reading.nats)
    readings = [reading for reading in readings if reading.nats > LEAST] or readings[:1]
    is_sure = _is_sure(readings, num_high)
    # Of a few letters nothing can be told, and they spoil little: texts of ASCII with a foreign
    # name or a curved quote are what spreadsheets save in Windows-1252.
    western = [reading for reading in best.values() if reading.encoding == ENCODINGS["western"][0]]
    are_few = num_high < FEW * num_bytes
    if western and (are_few or _has_marks_alone(western[0].text)):
        return Judgement(western, True)
    if num_high < FEWEST and western and western == readings[:1]:
        return Judgement(western, True)
    return Judgement(readings, is_sure)


def doubt_of(encoding: str, texts: Iterable[str]) -> str:
    """What to tell of texts that were read in an encoding, where another one reads them as a
    language far more likely; empty where nothing is."""
    known = {codecs.lookup(name).name for names in ENCODINGS.values() for name in names}
    # Of an encoding that is not among the readings nothing can be told.
    if codecs.lookup(encoding).name not in {*known, "iso8859-1"}:
        return ""
    lines = [text.encode(encoding, "replace") for text in texts]
    judgement = judge(lines, sum(map(len, lines)))
    if not judgement.is_sure:
        return ""
    best = judgement.readings[0]
    read = b"\n".join(lines)
    if read.decode(encoding) == read.decode(best.encoding, "replace"):
        return ""
    shown = Reading(encoding, 0.0, read.decode(encoding)).told
    return f"data.encoding: {shown} reads as no language, and {best.told} as one. Name that"


def _has_marks_alone(text: str) -> bool:
    """Whether all beyond ASCII are marks such as curved quotes, and within a word apostrophes."""
    for number, letter in enumerate(text):
        if letter.isascii():
            continue
        beside = text[max(0, number - 1) : number] + text[number + 1 : number + 2]
        is_within = len(beside) == 2 and beside.isalpha()
        if letter not in MARKS or (is_within and letter != "\u2019"):
            return False
    return True


def _is_sure(readings: Sequence[Reading], num_high: int) -> bool:
    if not readings or readings[0].nats < LEAST:
        return False
    if len(readings) < 2 or num_high < FEWEST:
        return num_high >= FEWEST
    ahead = readings[0].nats - readings[1].nats
    return ahead > AHEAD_OF_BYTE and ahead * num_high > AHEAD


def _decoded(sample: Sequence[bytes]) -> Iterator[tuple[str, str, str]]:
    """(encoding, the sample in it, its script) of each encoding in which all of it is text."""
    whole = b"\n".join(line.rstrip(b"\r\n") for line in sample)
    for script, encodings in ENCODINGS.items():
        for encoding in encodings:
            text = whole.decode(encoding, "replace")
            # The last line may be cut off within a character.
            if "\ufffd" not in text[:-1]:
                yield encoding, text, script


def _contexts(text: str) -> Counter[Context]:
    """How often each character beyond ASCII stands where."""
    counts: Counter[Context] = Counter()
    for number, letter in enumerate(text):
        if ord(letter) < 128:
            continue
        before = text[number - 1] if number else " "
        after = text[number + 1] if number + 1 < len(text) else " "
        letters = [each for each in (before, after) if each.isalpha()]
        num_ascii = sum(each.isascii() for each in letters)
        case = int(before.isalpha()) * (1 + int(before.islower()))
        counts[Context(letter, num_ascii < len(letters), num_ascii > 0, case)] += 1
    return counts


def _score(counts: Counter[Context], script: str, letters: str) -> float:
    """The log-likelihood of a reading in a language, in nats."""
    # 1. What each letter's probability is.
    weights = {letter: 1 / (rank + 2) for rank, letter in enumerate(dict.fromkeys(letters))}
    total = sum(weights.values())
    num_rare = RARE_OF.get(script)
    usual = USUAL / 2 if num_rare else USUAL
    # 2. Each character, by what stands beside it.
    nats = 0.0
    for place, count in counts.items():
        letter = place.letter
        small = letter if letter in weights else letter.lower()
        if small in weights:
            each = math.log(usual * weights[small] / total)
            each += CAPITALS[place.case] if small != letter else 0.0
            if script in ALONE:
                each += SIDE_BY_SIDE if place.is_beside_other else 0.0
            elif not num_rare and place.is_beside_ascii:
                each += MIXED
        elif letter in MARKS or (num_rare and letter in WIDE_MARKS):
            each = math.log(MARKED / COMMON_MARKS)
        elif num_rare and _is_of(script, letter):
            each = math.log(usual / num_rare)
        else:
            each = UNLIKELY
        nats += count * each
    return nats


def _is_of(script: str, letter: str) -> bool:
    """Whether a character is of the script, though none of its usual ones."""
    if script == "korean":
        return "\uac00" <= letter <= "\ud7a3"
    is_kana = "\u3041" <= letter <= "\u30fe"
    return "\u4e00" <= letter <= "\u9fff" or (script == "japanese" and is_kana)
