"""Pages of HTML that need nothing beside themselves: the report, and those of the server."""
