-- A vegetation index per plot and month. (The sample's four dates hold the same image, so the series is flat.)

SELECT collection, records FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');

-- the mask keeps what is not as bright as roofs and gravel; the picture ndvi_series.svg
SELECT label, period, round(count, 2) AS count, round(valid_fraction, 3) AS kept,
       round(quantile_10, 3) AS low, round(median, 3) AS median, round(quantile_90, 3) AS high
FROM rasteret_zonal(rgbn, rgbn_plots, per := 'month',
                    expressions := {'ndvi': '(NIR - R) / (NIR + R)'},
                    mask := 'greatest(R, G, B) < 180',
                    stats := ['count', 'valid_fraction', 'quantile(0.1)', 'median', 'quantile(0.9)'])
ORDER BY label, period;

-- a mask of bits, as quality bands need it: bits 3 and 4 of the value are both 0
SELECT label, period, round(count, 2) AS count, round(mean, 3) AS mean, status
FROM rasteret_zonal(rgbn, rgbn_plots, per := 'year', expressions := {'ndvi': '(NIR - R) / (NIR + R)'}, mask := 'R & 24 = 0', stats := ['count', 'mean'])
ORDER BY label, period;

-- records chosen by date first: with per := 'record' the condition may stand outside, else in the collection
WITH year_2016 AS (SELECT * FROM rasteret_collection(rgbn) WHERE datetime < DATE '2017-01-01')
SELECT label, period, datetime, round(mean, 3) AS mean
FROM rasteret_zonal(year_2016, rgbn_plots, expressions := {'ndvi': '(NIR - R) / (NIR + R)'}, stats := ['mean'], per := 'year')
ORDER BY label;
