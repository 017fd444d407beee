"""Every fault of a server with every operation."""
