"""The recipe: its frozen models, what its keys must have in common, reading and writing it.

Data only, without torch. Which components fit together is asked in
`pipeline.preflight.compatibility`.
"""
