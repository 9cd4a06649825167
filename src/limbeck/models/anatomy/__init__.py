"""What a model is made of: its layers, its attention, which module reads what."""
