-- The same as a file, for whoever has no DuckDB: dbt-duckdb's external materialization.
{{ config(materialized='external', location='ndvi_by_plot_and_date.parquet') }}

select * from {{ ref('ndvi_by_plot_and_date') }} order by plot_id, taken
