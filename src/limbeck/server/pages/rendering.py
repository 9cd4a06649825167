"""A page as it leaves the server: whole in one file, and allowed to do no more than it does.

Its policy (Content Security Policy, level 3) names the one script and the one style sheet by their
digests and lets it ask this server alone. Scripts build pages from text nodes: with Trusted Types
the browser refuses every call that would read a text as HTML.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.core.html.environment import digest, environment
from limbeck.server.requests.http import Answer, Header

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
HTML = "text/html; charset=utf-8"
POLICY = (
    "default-src 'none'",
    "connect-src 'self'",
    "img-src 'self' blob: data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
)


@functools.cache
def templates() -> "jinja2.Environment":
    """The templates, each read once."""
    return environment(TEMPLATES)


@functools.cache
def included(name: str) -> str:
    """A style sheet or a script, with what it includes itself."""
    return templates().get_template(name).render()


def page(name: str, view: dict[str, Any]) -> Answer:
    """A page of the server.

    Args:
        name: of its template `NAME.html.j2`; its script is `NAME.js`, where there is one.
        view: what the template lays out.
    """
    from markupsafe import Markup  # with jinja2

    style = included("style.css")
    has_script = (TEMPLATES / f"{name}.js").is_file()
    script = included(f"{name}.js") if has_script else ""
    # Both are ours as they stand: nothing of a user's is in them.
    told = view | {"style": Markup(style), "script": Markup(script)}
    text = templates().get_template(f"{name}.html.j2").render(told)
    return Answer(text.encode(), content_type=HTML, headers=headers_of(style, script))


def headers_of(style: str, script: str) -> list[Header]:
    """What a browser is told of a page."""
    policy = [*POLICY, f"style-src '{digest(style)}'"]
    if script:
        policy.append(f"script-src '{digest(script)}'")
    return [
        ("content-security-policy", "; ".join(policy)),
        ("x-content-type-options", "nosniff"),
        # Browsers of before `frame-ancestors`.
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        # The next version of the server has other pages at the same addresses.
        ("cache-control", "no-store"),
    ]
