-- Index six files once, then read values at points.

SELECT collection, records, bands, epsg, failed, requests
FROM rasteret_build_from_table(scenes, name := 'landsat');

-- every point with every record that holds it
SELECT id, label, record_id[11:16] AS scene, B2, B3, B4, status
FROM rasteret_sample(landsat, points, bands := ['B2', 'B3', 'B4'])
ORDER BY id, scene;

-- every point once, with the newest record that has a value there
SELECT id, label, record_id[11:16] AS scene, B4
FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest')
ORDER BY id;

-- one place, one number
SELECT rasteret_value('landsat', 'POINT(-54.6 -25.4)', 'B4') AS red;
