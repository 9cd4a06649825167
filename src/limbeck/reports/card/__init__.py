"""README.md of an artifact: what it is, how good it was, and how to run it without limbeck.

- `program`: that program, written for the artifact at hand.
- `text`: the whole card.
- `facts`: its tables and sentences, of report.json.
"""
