-- Points off the data, broken geometries, lost files: rows stay, status and error say why.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

CREATE TABLE places AS SELECT * FROM (VALUES
  ('in both scenes', 'POINT(-54.6 -25.4)'),
  ('in another country', 'POINT(10 50)'),
  ('nowhere', NULL),
  ('misspelt', 'POINT(-54.6, -25.4)')) AS t(what, geometry);

SELECT what, record_id[11:16] AS scene, B4, status, error
FROM rasteret_sample(landsat, places, bands := ['B4'], on_error := 'null')
ORDER BY what, scene;

-- a record whose file is gone
CREATE TABLE moved AS
SELECT * REPLACE ({'B2': assets.B2, 'B3': assets.B3, 'B4': {'href': 'moved/away.tif', 'band_index': 0}} AS assets)
FROM rasteret_collection(landsat) WHERE id LIKE '%224078%';

SELECT id, B3, B4, status, split_part(error, ' (', 1) AS error
FROM rasteret_sample(moved, points, bands := ['B3', 'B4'], on_error := 'null')
ORDER BY id LIMIT 2;

-- a record without the band
CREATE TABLE partly AS
SELECT * REPLACE (CASE WHEN id LIKE '%224077%' THEN NULL ELSE B4_metadata END AS B4_metadata) FROM rasteret_collection(landsat);

SELECT id, record_id[11:16] AS scene, B3, B4, status, error
FROM rasteret_sample(partly, points, bands := ['B3', 'B4'])
WHERE id = 1 ORDER BY scene;
