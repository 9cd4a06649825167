"""`limbeck init DATA`: what data look like, and a first recipe for them."""
