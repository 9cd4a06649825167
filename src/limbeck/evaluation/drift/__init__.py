"""Has the world changed since validation? What an artifact answered then, in counts
(`reference.py`), held against what it answers now.

`observing.py` says what of an answered request is counted, `tally.py` counts it, `tables.py` tests
two sets of counts, and `watch.py` looks at windows of requests and says when it is too much.
"""
