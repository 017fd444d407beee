-- Each point with the record that is closest to it in time.

SELECT collection, records FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');

CREATE TABLE visits AS SELECT * FROM (VALUES
  ('riverbed', -72.2050, 18.5200, TIMESTAMP '2016-04-20 09:30:00'),
  ('riverbed', -72.2050, 18.5200, TIMESTAMP '2016-08-20 15:00:00'),
  ('riverbed', -72.2050, 18.5200, NULL),
  ('elsewhere', 10, 50, TIMESTAMP '2016-04-20 09:30:00')) AS t(place, lon, lat, seen);

SELECT place, seen, record_id, date_diff('day', datetime, seen) AS days, NIR, status, error
FROM rasteret_sample(rgbn, visits, bands := ['NIR'], x := 'lon', y := 'lat', match := 'nearest', time_column := 'seen')
ORDER BY place, seen;

-- at most 30 days apart
SELECT place, seen, record_id, NIR, status, error
FROM rasteret_sample(rgbn, visits, bands := ['NIR'], x := 'lon', y := 'lat', match := 'nearest', time_column := 'seen', tolerance := INTERVAL 30 DAY)
ORDER BY place, seen;

-- an index at the point, interpolated between the centres of pixels, where the pixel is no bare gravel
SELECT place, seen, round(ndvi, 4) AS ndvi, status
FROM rasteret_sample(rgbn, visits, expressions := {'ndvi': '(NIR - R) / (NIR + R)'}, mask := 'R < 180', interpolation := 'bilinear',
                     x := 'lon', y := 'lat', match := 'nearest', time_column := 'seen')
ORDER BY place, seen;
