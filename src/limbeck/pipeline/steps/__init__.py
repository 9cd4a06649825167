"""The steps of an arm, one file each: what it depends on, and the function that computes it.

Each imports what it needs and no more, for a stage's key covers all the code that it reaches.
"""
