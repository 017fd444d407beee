-- What reflects how much: statistics of each plot, edges counted by the share that lies in the plot.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

-- one row per plot, record and band
SELECT id, label, record_id[11:16] AS scene, band, round(count, 2) AS count, round(mean, 1) AS mean, min, max, round(stddev_pop, 1) AS spread
FROM rasteret_zonal(landsat, plots, bands := ['B3', 'B4'])
WHERE label IN ('crop', 'water')
ORDER BY id, scene, band;

-- reflectance at the top of the atmosphere (not corrected for the sun's height), both records merged: the picture zonal_by_label.svg
SELECT label, band, round(mean, 4) AS mean, round(stddev_pop, 4) AS spread,
       round(quantile_10, 4) AS low, round(median, 4) AS median, round(quantile_90, 4) AS high
FROM rasteret_zonal(landsat, plots, per := 'all',
                    stats := ['mean', 'stddev_pop', 'quantile(0.1)', 'median', 'quantile(0.9)'],
                    expressions := {'blue': 'B2 * 2e-5 - 0.1', 'green': 'B3 * 2e-5 - 0.1', 'red': 'B4 * 2e-5 - 0.1'})
ORDER BY label, band;

-- by label, where a label has several plots: sums and counts add up
SELECT label, band, round(sum(count), 2) AS pixels, round(sum(sum) / sum(count), 1) AS mean
FROM rasteret_zonal(landsat, plots, bands := ['B2', 'B3', 'B4'], stats := ['count', 'sum'])
GROUP BY label, band ORDER BY label, band;
