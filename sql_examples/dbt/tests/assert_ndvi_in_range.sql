-- NDVI lies between -1 and 1. Rows that come back are failures.
select * from {{ ref('ndvi_by_plot_and_date') }} where ndvi is null or ndvi not between -1 and 1
