"""What `limbeck init` does not read as it lies: told by name, with a command that makes rows."""
