"""A folder from which a container of a server is built, and what Kubernetes needs to run it."""
