-- Labelled pixels for a model, written to Parquet: one row per pixel, with its label and bands.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

COPY (
  SELECT id AS plot, label, record_id AS scene, unnest(B2) AS blue, unnest(B3) AS green, unnest(B4) AS red
  FROM rasteret_read(landsat, plots, bands := ['B2', 'B3', 'B4'])
) TO 'training.parquet';

SELECT label, count(red) AS pixels, round(avg(blue)) AS blue, round(avg(green)) AS green, round(avg(red)) AS red
FROM 'training.parquet' GROUP BY label ORDER BY label;
