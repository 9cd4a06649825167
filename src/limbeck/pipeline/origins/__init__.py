"""Where the models and the data of a run come from, and under which licence: for the card."""
