-- Which files there are. IMAGERY is a folder or a URL; here it is the sample imagery of the package.
select
    scene_id as id,
    taken as datetime,
    '{{ env_var("IMAGERY", "../../rasteret_sql/sample/data") }}/' || file as href
from {{ ref('scenes') }}
