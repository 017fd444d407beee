"""Coverage-guided fuzzing of what reads bytes of strangers; tests/fuzz/corpus keeps what was found."""
