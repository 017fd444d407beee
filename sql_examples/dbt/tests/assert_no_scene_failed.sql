-- Every file that the seed names could be indexed. FROM rasteret_failures('imagery') says which could not, and why.
select * from {{ ref('imagery') }} where failed > 0
