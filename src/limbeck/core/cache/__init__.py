"""The cache on disk:
entries that are whole or not there, the store of stages, the folder as a whole."""
