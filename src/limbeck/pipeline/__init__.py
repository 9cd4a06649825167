"""A recipe in a straight line: who does what, and when. Alone touches the store."""
