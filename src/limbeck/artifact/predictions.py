"""Answers of an artifact as Python gets them: the plain dicts that JSON holds, which a notebook
shows as tables."""

from html import escape
from typing import Any

from limbeck.core.terminal.notebook import bar, html_table
from limbeck.core.wording import figure

MOST_LABELS = 5  # probabilities that one answer shows
MOST_ROWS = 20  # answers of a list that are shown
MOST_NUMBERS = 8  # of a vector


class Prediction(dict[str, Any]):
    """The answer to one input: a dict, ready for JSON, whose keys hang on the task (docs/api.md).

    >>> Prediction(label="yes", probability=0.9)["label"]
    'yes'
    """

    def _repr_html_(self) -> str:
        """A line for each key; of probabilities the largest, as bars."""
        lines = []
        for key, value in self.items():
            lines.append(f"<tr><th>{escape(key)}</th><td>{shown_html(value)}</td></tr>")
        return f"<table>{''.join(lines)}</table>"


class Predictions(list[Prediction]):
    """The answers to a list of inputs, in their order: a list of dicts, ready for JSON."""

    def _repr_html_(self) -> str:
        """A row for each of the first answers."""
        first = self[:MOST_ROWS]
        # Answers to pairs and to single texts have other keys.
        keys: dict[str, None] = {}
        for each in first:
            keys |= dict.fromkeys(each)
        rows = []
        for number, each in enumerate(first):
            cells = [shown(each.get(key, "")) for key in keys]
            rows.append([number, *cells])
        rest = len(self) - len(first)
        more = f"<p>and {rest:,} more</p>" if rest else ""
        return html_table(["", *keys], rows) + more

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each answer and a column for each of its keys.

        Raises ModuleNotFoundError where pandas is not installed.
        """
        return data_frame(self, "Predictions.to_dataframe")


def data_frame(rows: list[Any], what: str) -> Any:
    """Plain rows as a pandas DataFrame; `what`: the method that needs it, for the message.

    Raises ModuleNotFoundError where pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError:
        message = f"{what} needs pandas: pip install pandas"
        raise ModuleNotFoundError(message, name="pandas") from None
    return pandas.DataFrame(rows)


def shown_html(value: Any) -> str:
    """A value of an answer as HTML."""
    if is_shares(value):
        lines = []
        # Of a thousand labels the first few are what is asked.
        for name in by_share(value)[:MOST_LABELS]:
            share = value[name]
            lines.append(f"{bar(share)} {share:.3f} {escape(name)}")
        return "<br>".join(lines)
    # The entities of a text, each with the same keys.
    if isinstance(value, list) and value and isinstance(value[0], dict):
        keys = list(value[0])
        rows = []
        for each in value:
            rows.append([shown(each[key]) for key in keys])
        return html_table(keys, rows)
    return escape(shown(value))


def shown(value: Any) -> str:
    """A value of an answer in a few words."""
    if isinstance(value, float):
        return figure(value)
    if is_shares(value):
        best = by_share(value)[0]
        return f"{best} {value[best]:.3f}"
    # A vector of hundreds of numbers says nothing to a reader but its width.
    if isinstance(value, list) and len(value) > MOST_NUMBERS:
        first = ", ".join(shown(each) for each in value[:3])
        return f"[{first}, ...] ({len(value):,})"
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value)
    return str(value)


def by_share(shares: dict[str, float]) -> list[str]:
    """The labels, the likeliest first; of equal ones as they stand."""
    return sorted(shares, key=shares.__getitem__, reverse=True)


def is_shares(value: Any) -> bool:
    """Whether a value holds a probability for each label."""
    is_dict = isinstance(value, dict) and len(value) > 0
    return is_dict and all(isinstance(share, float) for share in value.values())
