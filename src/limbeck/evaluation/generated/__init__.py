"""What generated answers are worth: held against reference answers, and for what they repeat."""
