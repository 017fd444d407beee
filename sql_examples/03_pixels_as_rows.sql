-- One row per pixel: any expression over bands is plain SQL.

SELECT collection, records FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');

-- vegetation index by land cover; single values have types that a difference is safe in
SELECT label, count(NIR) AS pixels, round(avg((NIR - R) / (NIR + R)), 3) AS ndvi
FROM rasteret_pixels(rgbn, rgbn_plots, bands := ['R', 'NIR'], pixels := 'center')
WHERE datetime >= DATE '2017-01-01'
GROUP BY label ORDER BY ndvi DESC;

-- with the place of each pixel's centre, in the record's CRS, and the share of the pixel that the plot covers
SELECT label, row, col, x, y, round(coverage, 4) AS coverage, NIR
FROM rasteret_pixels(rgbn, rgbn_plots, bands := ['NIR'])
WHERE label = 'houses' AND record_id = 'rgbn_20170203' AND coverage > 0.05
ORDER BY row, col LIMIT 4;

-- out of the lists of rasteret_read, where a list per plot is there already
SELECT label, i // width AS row, i % width AS col,
       transform[1] * (i % width + 0.5) + transform[3] AS x,
       transform[5] * (i // width + 0.5) + transform[6] AS y, nir
FROM (
  SELECT label, width, transform, generate_subscripts(NIR, 1) - 1 AS i, unnest(NIR) AS nir
  FROM rasteret_read(rgbn, rgbn_plots, bands := ['NIR'])
  WHERE label = 'houses' AND record_id = 'rgbn_20170203'
)
WHERE nir IS NOT NULL ORDER BY row, col LIMIT 4;
