"""What a run's models write: the page's section, and its lines in the terminal."""
