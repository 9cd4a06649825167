"""Text as OpenAI's API has it: `/v1/chat/completions`, `/v1/completions` and `/v1/models`.

Clients that are written for it need another `base_url` and nothing else. What is not done (tools,
several answers at once, log-probabilities) is refused, not ignored.
"""
