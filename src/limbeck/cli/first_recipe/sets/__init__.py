"""Which files and folders of a repository are one set: by their names, and what lies beside."""
