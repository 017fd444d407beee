-- Reads pixels: of new scenes under all plots, and of known scenes under plots that are new or changed. Nothing else is read again.
{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key=['plot_id', 'scene_id', 'band'],
    post_hook="
        delete from {{ this }} as t
        where not exists (from {{ ref('stg_plots') }} as p where p.plot_id = t.plot_id and p.plot_hash = t.plot_hash)
           or not exists (from {{ ref('imagery_scenes') }} as s where s.id = t.scene_id and s.scene_hash = t.scene_hash)
    "
) }}

with scenes as (select * from {{ ref('imagery_scenes') }}),

plots as (select plot_id, plot_hash, geometry from {{ ref('stg_plots') }}),

{% if is_incremental() %}

known_scenes as (
    select s.* from scenes as s where exists (from {{ this }} as t where t.scene_id = s.id and t.scene_hash = s.scene_hash)
),

new_scenes as (
    select s.* from scenes as s where not exists (from {{ this }} as t where t.scene_id = s.id and t.scene_hash = s.scene_hash)
),

changed_plots as (
    select p.* from plots as p where not exists (from {{ this }} as t where t.plot_id = p.plot_id and t.plot_hash = p.plot_hash)
),

statistics as (
    {{ plot_statistics('new_scenes', 'plots') }}
    union all
    {{ plot_statistics('known_scenes', 'changed_plots') }}
)

{% else %}

statistics as (
    {{ plot_statistics('scenes', 'plots') }}
)

{% endif %}

select statistics.*, scenes.scene_hash
from statistics
join scenes on scenes.id = statistics.scene_id
