"""report.json as a page, a card, lines of a terminal. Dicts in, text out, no torch."""
