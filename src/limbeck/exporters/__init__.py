"""A trained model to a graph in the artifact: `export(context) -> graphs`, and `open(path, threads) -> callable` runs one in its own runtime."""
