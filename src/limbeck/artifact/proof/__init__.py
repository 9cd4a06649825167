"""Whether an artifact is what was trained:
the same answers, in every graph, in a process of its own."""
