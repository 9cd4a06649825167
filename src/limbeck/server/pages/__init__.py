"""What people read of a server: pages to try models on, its state, and the document of its API."""
