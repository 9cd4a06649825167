"""What is had without a network, on the same splits, in seconds: is one needed at all?

A linear model of scikit-learn over words and characters, or pixels; for tags the most frequent tag
of each word; for vectors the principal directions of the words. One file for each kind of row.
"""
