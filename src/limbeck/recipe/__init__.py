"""The recipe: its frozen models, how a file becomes one, its JSON Schema and the catalogue of components. Data only, no torch."""
