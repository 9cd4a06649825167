"""Which column of a table is what: texts, labels, annotators, words and tags, groups, splits."""
