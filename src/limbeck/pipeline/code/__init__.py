"""What code a stage's result depends on, ours and the user's own, as part of its key."""
