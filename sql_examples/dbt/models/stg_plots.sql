-- Plots as they are in the seed. The hash changes with the outline, and with nothing else.
select
    plot_id,
    label,
    wkt as geometry,
    md5(wkt) as plot_hash
from {{ ref('plots') }}
