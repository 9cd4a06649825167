"""Which layer pays: what each one loses, takes of time, saturates, and how sensitive it is.

A model and rows in, a table out: nothing here knows a recipe or a store.
"""
