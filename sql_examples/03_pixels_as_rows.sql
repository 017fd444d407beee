-- One row per pixel: any expression over bands is plain SQL.

SELECT collection, records FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');

-- vegetation index by land cover; the cast keeps UTINYINT - UTINYINT from overflowing
WITH pixels AS (
  SELECT label, unnest(R)::INTEGER AS red, unnest(NIR)::INTEGER AS nir
  FROM rasteret_read(rgbn, rgbn_plots, bands := ['R', 'NIR'])
  WHERE datetime >= DATE '2017-01-01'
)
SELECT label, count(nir) AS pixels, round(avg((nir - red) / (nir + red)), 3) AS ndvi
FROM pixels GROUP BY label ORDER BY ndvi DESC;

-- with the place of each pixel's centre, in the record's CRS
SELECT label, i // width AS row, i % width AS col,
       transform[1] * (i % width + 0.5) + transform[3] AS x,
       transform[5] * (i // width + 0.5) + transform[6] AS y, nir
FROM (
  SELECT label, width, transform, generate_subscripts(NIR, 1) - 1 AS i, unnest(NIR) AS nir
  FROM rasteret_read(rgbn, rgbn_plots, bands := ['NIR'])
  WHERE label = 'houses' AND record_id = 'rgbn_20170203'
)
WHERE nir IS NOT NULL ORDER BY row, col LIMIT 4;
