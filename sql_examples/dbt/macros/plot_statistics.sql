{#- Statistics of every plot under every scene that it meets. Both arguments are names of CTEs. -#}
{% macro plot_statistics(scenes, plots) -%}
    select plot_id, plot_hash, record_id as scene_id, datetime as taken, band, count as pixels, mean, median, status
    from rasteret_zonal(
        {{ scenes }}, {{ plots }},
        bands := ['R', 'NIR'],
        expressions := {'ndvi': '(NIR - R) / (NIR + R)'},
        stats := ['count', 'mean', 'median']
    )
    where record_id is not null  -- a plot that meets no scene
{%- endmacro %}
