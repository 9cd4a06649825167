"""HTTP: artifacts behind a socket, bounded in every direction (`limbeck serve`)."""
