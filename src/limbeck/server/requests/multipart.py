"""multipart/form-data (RFC 7578), by python-multipart."""

from typing import Any

from limbeck.server.requests.refusals import bad_request

MOST_PARTS = 1000
# Encodings of a part that leave it as it is; HTTP has no other (RFC 7578, section 4.7).
AS_IT_IS = ("7bit", "8bit", "binary")
MOST_SHOWN = 40
Part = tuple[str, bytes, bool]


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """(name, content, whether it is a file) of each part of a form.

    Raises Refused for a body that is no such form.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise bad_request("multipart/form-data: its Content-Type has no boundary")
    form = Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise bad_request(f"the body is no multipart/form-data: {error}") from None
    # The parser takes a body that ends in the middle for one of which more is to come.
    if not form.is_over:
        raise bad_request("the body is no whole multipart/form-data: its last boundary is missing")
    return form.parts


def check_encoding(encoding: str) -> None:
    """Raise Refused for a part that is not as it is: its encoding would be read as the text."""
    if encoding.lower() not in AS_IT_IS:
        raise bad_request(
            f"multipart/form-data: a part has Content-Transfer-Encoding: {encoding[:MOST_SHOWN]}, "
            "which is not read here. Send it as it is, in 8bit or binary"
        )


class Form:
    """Collects the parts that the parser calls out."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.is_over = False
        self.name = self.value = b""
        self.disposition = b""
        self.content: list[bytes] = []

    def callbacks(self) -> Any:
        """What the parser calls, by the name of its event."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": self.add_to_name,
            "on_header_value": self.add_to_value,
            "on_header_end": self.end_header,
            "on_part_data": self.add_content,
            "on_part_end": self.end,
            "on_end": self.finish,
        }

    def begin(self) -> None:
        """A part begins."""
        # Each part is an object: a body of 2 MB could hold 50,000.
        if len(self.parts) >= MOST_PARTS:
            raise bad_request(f"multipart/form-data: at most {MOST_PARTS:,} parts are read")
        self.disposition = b""
        self.content = []

    def add_to_name(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self.name += data[start:end]

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self.value += data[start:end]

    def end_header(self) -> None:
        """A header of the part is whole."""
        if self.name.lower() == b"content-disposition":
            self.disposition = self.value
        if self.name.lower() == b"content-transfer-encoding":
            check_encoding(self.value.decode("latin-1").strip())
        self.name = self.value = b""

    def add_content(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's content."""
        self.content.append(data[start:end])

    def end(self) -> None:
        """The part is whole."""
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self.disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        self.parts.append((name, b"".join(self.content), b"filename" in options))

    def finish(self) -> None:
        """The last boundary was read."""
        self.is_over = True
