"""The SQL functions' bodies: Arrow in, Arrow out, one module per function. No duckdb here; ``rasteret_sql.sql`` registers them."""
