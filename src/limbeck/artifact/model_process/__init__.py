"""A model in a process of its own, asked in JSON: an object a line in, one a line out.

So a program that is no Python (llama.cpp), or a package that the ground floor does without (torch),
answers for an artifact.
"""
