-- A join of one's own, with our functions as expressions.

SELECT collection, records FROM rasteret_build_from_table(scenes, name := 'landsat');

SELECT p.id, p.label, s.id[11:16] AS scene, rasteret_sample(s, p.geom, 'B4') AS red
FROM points AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom
ORDER BY p.id, scene;

SELECT p.label, s.id[11:16] AS scene, round(list_avg(rasteret_read(s, p.geom, 'B4')), 1) AS mean_red
FROM plots AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom
ORDER BY p.label, scene;
