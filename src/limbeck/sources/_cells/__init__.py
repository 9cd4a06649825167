"""What the cells of a record hold: a label, tags of words, spans of a text; and the row of them."""
