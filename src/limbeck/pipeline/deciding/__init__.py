"""How an artifact decides: what the recipe asks for (`asked`), what is fitted through the artifact
(`making`), and what report.json tells of it (`telling`, `shift`)."""
