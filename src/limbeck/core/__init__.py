"""What every room stands on; it imports no other room and no torch.

Components by name (`registry`), the cache of stages (`store`, `files`), the levels of formats
(`grids`), `schedules`, YAML (`yaml12`), events and where they are shown (`events`, `console`,
`tables`), the machine (`machine`, `memory`, `windows`, `signals`), `errors` and their wording.
"""
