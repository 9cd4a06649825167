"""Text that every file can hold: whole characters."""


def checked_unicode(key: str, text: str) -> str:
    """The text. Raises ValueError where it holds half a character, which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{key}: {error.object[error.start]!r} is half of a character (a lone surrogate). "
            "Remove it, or decode the text with errors='replace'"
        ) from None
    return text
