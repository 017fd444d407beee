"""Our functions over quack, DuckDB's own remote protocol: any DuckDB client calls them in a process that has this package."""
