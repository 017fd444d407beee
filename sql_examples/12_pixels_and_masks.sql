-- One row per pixel, with the share of it that the plot covers: any SQL over it gives what rasteret_zonal gives.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

SELECT label, x, y, row, col, round(coverage, 4) AS coverage, B3, B4
FROM rasteret_pixels(landsat, plots, bands := ['B3', 'B4'])
WHERE label = 'developed' AND record_id LIKE '%224078%'
ORDER BY row, col LIMIT 4;

-- by hand
CREATE TABLE by_hand AS
SELECT id, record_id, sum(coverage) AS count, sum(coverage * index) / sum(coverage) AS mean, min(index) AS least, count(DISTINCT index) AS variety
FROM (SELECT *, (B3 - B4) / (B3 + B4) AS index FROM rasteret_pixels(landsat, plots, bands := ['B3', 'B4']))
WHERE B4 < 8500
GROUP BY id, record_id;

-- the same in one call, without a row per pixel
CREATE TABLE in_one AS
SELECT id, record_id, count, mean, min, variety
FROM rasteret_zonal(landsat, plots, expressions := {'index': '(B3 - B4) / (B3 + B4)'}, mask := 'B4 < 8500', stats := ['count', 'mean', 'min', 'variety']);

SELECT id, record_id[11:16] AS scene, round(o.count, 3) AS count, round(o.mean, 4) AS mean, o.variety,
       abs(o.count - h.count) < 1e-9 AND abs(o.mean - h.mean) < 1e-12 AND o.min = h.least AND o.variety = h.variety AS same
FROM in_one AS o JOIN by_hand AS h USING (id, record_id) ORDER BY id, scene;

-- pixels of which at least half lie in the plot, for what no statistic says: how red goes with green
SELECT label, count(*) AS pixels, round(corr(B3, B4), 2) AS correlation
FROM rasteret_pixels(landsat, plots, bands := ['B3', 'B4'])
WHERE coverage >= 0.5 AND record_id LIKE '%224077%'
GROUP BY label ORDER BY label;
