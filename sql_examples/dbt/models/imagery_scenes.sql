-- The collection as a relation: a row per scene, with what a read needs to know. The hash stands for the file and its version.
-- depends_on: {{ ref('imagery') }}
{{ config(materialized='view') }}

select *, md5(concat_ws('|', assets.NIR.href, NIR_metadata.etag)) as scene_hash
from rasteret_collection('imagery')
