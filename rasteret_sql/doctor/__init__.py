"""Does everything work here? Checks of environment, DuckDB, workspace, credentials and places, in plain words with a fix for each finding."""
