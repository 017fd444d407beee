-- What will it cost, what did it cost.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

-- before: nothing is read
SELECT record_id[11:16] AS scene, band, tiles, requests, bytes, bytes_cached
FROM rasteret_plan(landsat, plots, bands := ['B4']) WHERE band IS NOT NULL ORDER BY scene;

SELECT count(*) AS rows, sum(list_count(B4)) AS pixels FROM rasteret_read(landsat, plots, bands := ['B4']);

-- after
SELECT function, requests, bytes, cache_hits, tiles_decoded FROM rasteret_io(last := 1);

-- the same again is in memory
SELECT record_id[11:16] AS scene, band, tiles, requests, bytes, bytes_cached
FROM rasteret_plan(landsat, plots, bands := ['B4']) WHERE band IS NOT NULL ORDER BY scene;
