"""SQL: the only importer of duckdb. Plans are text; functions come from ``rasteret_sql.udfs``."""
