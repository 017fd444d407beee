"""Servers for tests, all on loopback: a fast honest one that counts (``ranged``), and one that fails by script (``faulty``)."""
