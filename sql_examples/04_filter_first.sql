-- A collection is a table: what SQL leaves of it is a collection again.

SELECT collection, records FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');

-- a view
CREATE VIEW spring AS SELECT * FROM rasteret_collection(rgbn) WHERE month(datetime) BETWEEN 3 AND 5;
SELECT label, record_id, list_count(NIR) AS pixels, typeof(NIR) AS type
FROM rasteret_read(spring, rgbn_plots, bands := ['NIR'])
WHERE label = 'trees' ORDER BY record_id;

-- a join with a table of one's own
CREATE TABLE reviewed (scene VARCHAR, verdict VARCHAR);
INSERT INTO reviewed VALUES ('rgbn_20160101', 'good'), ('rgbn_20160517', 'hazy'), ('rgbn_20170203', 'good');

WITH good AS (SELECT c.* FROM rasteret_collection(rgbn) AS c JOIN reviewed AS r ON r.scene = c.id WHERE r.verdict = 'good')
SELECT label, record_id, round(list_avg(R)) AS red
FROM rasteret_read(good, rgbn_plots, bands := ['R'])
WHERE label = 'trees' ORDER BY record_id;

-- filters on record_id and datetime may also stand outside: they go down to the Parquet files
SELECT count(*) AS rows FROM rasteret_read(rgbn, rgbn_plots, bands := ['R']) WHERE datetime < DATE '2016-02-01';
