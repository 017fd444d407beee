"""Hostile names and values through every function, and what must never leave or enter."""
