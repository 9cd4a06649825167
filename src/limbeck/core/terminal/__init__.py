"""What a terminal shows and takes: a live line, tables, commands to paste."""
