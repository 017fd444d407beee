-- GeoTIFFs by path, glob or list are collections; a table of them gets names, dates and bands.

SELECT band, dtype, resolution, epsg FROM rasteret_bands('landsat/*_B4.tif');

SELECT record_id[11:16] AS scene, count(b1) AS values
FROM rasteret_sample('landsat/*_B4.tif', points, bands := ['b1']) GROUP BY scene ORDER BY scene;

-- one file per band, by column
CREATE TABLE apart AS
SELECT 'LC08_L1TP_' || path_row || '_20200518' AS id, DATE '2020-05-18' AS datetime, path_row,
       'landsat/LC08_L1TP_' || path_row || '_20200518_20200518_01_RT_B3.tif' AS green,
       'landsat/LC08_L1TP_' || path_row || '_20200518_20200518_01_RT_B4.tif' AS red
FROM (VALUES ('224077'), ('224078')) AS t(path_row);

SELECT collection, records, bands, failed
FROM rasteret_build_from_table(apart, name := 'apart', band_columns := {'green': 'green', 'red': 'red'});

SELECT id, label, path_row, green, red
FROM rasteret_sample(apart, points, bands := ['green', 'red'])
JOIN (SELECT id AS record_id, path_row FROM rasteret_collection(apart)) USING (record_id)
WHERE label = 'water' ORDER BY id, path_row;

-- many bands in one file, by position
CREATE TABLE together AS
SELECT parse_filename(file, true) AS id, file AS path FROM glob('rgbn/*.tif');

SELECT collection, records, bands
FROM rasteret_build_from_table(together, name := 'together', href_column := 'path', band_index_map := {'R': 0, 'NIR': 3});
