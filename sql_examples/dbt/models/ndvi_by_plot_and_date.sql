-- One row per plot and day. Where two scenes show a plot on one day, each counts by the pixels that it gave.
select
    z.plot_id,
    p.label,
    z.taken::date as taken,
    sum(z.mean * z.pixels) / sum(z.pixels) as ndvi,
    sum(z.pixels) as pixels,
    count(*) as scenes
from {{ ref('plot_statistics') }} as z
join {{ ref('stg_plots') }} as p using (plot_id)
where z.band = 'ndvi' and z.status = 'ok'
group by all
