-- Reads the headers of files that are new or changed, and writes the collection. The model is the build's report, one row.
with records as (select * from {{ ref('stg_scenes') }})

select collection, records, added, unchanged, failed, requests, bytes, seconds
from rasteret_build_from_table(
    records,
    name := 'imagery',
    href_column := 'href',
    band_index_map := {'R': 0, 'G': 1, 'B': 2, 'NIR': 3},
    force := {{ 'true' if flags.FULL_REFRESH else 'false' }}
)
