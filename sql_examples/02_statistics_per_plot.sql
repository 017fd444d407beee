-- Statistics of the pixels whose centres lie in a plot, over the lists of rasteret_read: DuckDB's list functions skip NULLs.
-- rasteret_zonal does this without lists, and with exact edges: 10_zonal_by_label.sql.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

SELECT id, label, record_id[11:16] AS scene,
       list_count(B4) AS pixels,
       list_min(B4) AS least,
       list_max(B4) AS greatest,
       round(list_avg(B4), 1) AS mean,
       list_median(B4) AS median,
       round(list_stddev_pop(B4), 1) AS spread,
       round(list_aggregate(B4, 'quantile_cont', 0.9), 1) AS high
FROM rasteret_read(landsat, plots, bands := ['B4'])
ORDER BY id, scene;

-- the same in one call
SELECT id, label, record_id[11:16] AS scene, count, min, max, round(mean, 1) AS mean, round(stddev_pop, 1) AS spread
FROM rasteret_zonal(landsat, plots, bands := ['B4'], pixels := 'center')
ORDER BY id, scene;

-- by label, over all records, from the pixels themselves: exact, medians included
SELECT label, count(red) AS pixels, round(avg(red), 1) AS mean, median(red) AS median
FROM (SELECT label, unnest(B4) AS red FROM rasteret_read(landsat, plots, bands := ['B4']))
GROUP BY label ORDER BY label;
