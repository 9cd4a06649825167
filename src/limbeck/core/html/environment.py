"""How pages are made: Jinja2 with what users wrote escaped, and one style sheet below all of them.

`base.css` has the colours, light and dark, and the type; a page includes it and adds its own. What
a page runs is named by its digest in the page's Content-Security-Policy (CSP level 3, section
2.3.1), so that nothing else in it is ever run, whatever texts it shows.
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

SHARED = Path(__file__).parent


def environment(templates: Path) -> "jinja2.Environment":
    """Jinja2 over the templates of a folder, and over what all pages share."""
    import jinja2  # here, so that no other command waits 50 ms for it

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, SHARED]),
        autoescape=True,
        # A name that the template misspells is an error, not an empty cell.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["code"] = code
    return made


def digest(text: str) -> str:
    """A script or a style sheet as a policy names it: `sha256-...`."""
    found = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(found).decode()}"


def code(text: str) -> "Markup":
    """A sentence as HTML: what stands between backticks in a message is code on a page."""
    from markupsafe import Markup, escape  # with jinja2

    parts = text.split("`")
    # A lone backtick is the user's own.
    if len(parts) % 2 == 0:
        return escape(text)
    html = Markup("")
    for i, part in enumerate(parts):
        html += Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
    return html
