"""What a student lost of its teacher: which rows, which kinds of rows, and whose labels are in
doubt. Ground floor: answers in, figures out.

A row is *right* where every labelled unit of it is decided as its label says: a text with its
label, a text with all of its labels and no other, a sentence without a wrong tag. So a share of
right rows means the same for every task that has labels, and the paired test holds of it.
"""
