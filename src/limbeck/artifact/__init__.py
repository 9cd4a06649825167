"""What `pip install limbeck` runs: a folder that answers, its proof, its speed. Raw input in, answer out, no torch."""
