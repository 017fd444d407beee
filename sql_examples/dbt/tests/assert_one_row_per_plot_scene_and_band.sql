select plot_id, scene_id, band, count(*) as rows_found
from {{ ref('plot_statistics') }}
group by all
having count(*) > 1
