"""The mark by which some editors begin a file of UTF-8, and which is none of its characters."""

import codecs
from typing import TypeVar

Body = TypeVar("Body", bytes, memoryview)


def without_mark(body: Body) -> Body:
    """A body of JSON or text without the mark at its beginning, as files of rows are read.

    >>> without_mark(codecs.BOM_UTF8 + b"Ada"), without_mark(b"Ada")
    (b'Ada', b'Ada')
    """
    size = len(codecs.BOM_UTF8)
    return body[size:] if bytes(body[:size]) == codecs.BOM_UTF8 else body
