"""What a network is, whoever trains it: made, loaded and saved, run on a batch, and looked into."""
