"""The bytes of an image in JSON: base64 (RFC 4648, section 4), or a data URL (RFC 2397)."""

import base64
import binascii

DATA = "data:"
MARK = ";base64"


def bytes_of(text: str) -> bytes:
    """The bytes of base64, with or without the head of a data URL, and in lines as MIME breaks
    them. Raises ValueError with what is wrong, for its sender."""
    content = text
    if text[: len(DATA)].lower() == DATA:
        # As a browser reads a file.
        head, _, content = text.partition(",")
        if not head.lower().endswith(MARK):
            raise ValueError(f"a data URL begins as in data:image/png{MARK},... with its base64")
    # `base64 FILE` and Python's encodebytes end a line after 76 letters.
    content = content.replace("\r\n", "").replace("\n", "")
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"base64 is expected, or a data URL{why_not(content)}") from None
    # Python takes padding that is too much, and bits in the last letter that belong to no byte.
    last = decoded[(len(decoded) - 1) // 3 * 3 :]
    if content[-4:] != base64.b64encode(last).decode():
        raise ValueError(f"base64 is expected, and none ends in {content[-4:]}{why_not(content)}")
    return decoded


def why_not(content: str) -> str:
    """What keeps a text from being base64, where that is one of the usual things."""
    if set("-_") & set(content) and not set("+/") & set(content):
        return ": this is of the alphabet for URLs. Send + and / in place of - and _"
    if any(sign.isspace() for sign in content):
        return ": of blanks, ends of lines alone may stand in it"
    if content.isascii() and len(content) % 4 and not set(content) & set(".:\\"):
        return f": its {len(content):,} letters, padding (=) among them, are no multiple of 4"
    return ""
