"""Notebooks, frames, arrays and pictures: each tool is the real one."""
