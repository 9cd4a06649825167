"""A student cut from its teacher: `cut(teacher) -> student`, a new model; the teacher stays as it was."""
