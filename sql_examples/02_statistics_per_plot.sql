-- Statistics of the pixels whose centres lie in a plot: DuckDB's list functions skip NULLs.

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

-- the same by label, over all records, from the pixels themselves: exact, medians included
SELECT label, count(red) AS pixels, round(avg(red), 1) AS mean, median(red) AS median
FROM (SELECT label, unnest(B4) AS red FROM rasteret_read(landsat, plots, bands := ['B4']))
GROUP BY label ORDER BY label;
