"""The command line: one table from verb to function."""
