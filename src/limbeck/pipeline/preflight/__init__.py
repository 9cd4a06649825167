"""What is found out before anything is trained:
whether a recipe fits together, and what it takes."""
