"""Text from a causal language model in torch, many prompts at once, as training needs it."""
