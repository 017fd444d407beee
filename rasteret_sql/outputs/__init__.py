"""What leaves SQL for other tools: arrays for NumPy, pictures for a quick look."""
