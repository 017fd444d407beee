"""A marimo notebook: our connection behind SQL cells, the sample imagery, a table, arrays, a picture."""

import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    import rasteret_sql
    from rasteret_sql.sample import data_dir, records

    con = rasteret_sql.connect()
    con.register("scenes", records(str(data_dir())))
    con.execute("FROM rasteret_build_from_table(scenes, name := 'landsat')").fetchall()
    for name in ("points", "plots"):
        con.execute(f"CREATE TABLE {name} AS FROM '{data_dir()}/{name}.parquet'").fetchall()
    return con, mo, rasteret_sql


@app.cell
def _(con, mo):
    values = mo.sql("SELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id", engine=con, output=False)
    return (values,)


@app.cell
def _(con, mo):
    chips = mo.sql("FROM rasteret.read(landsat, plots, bands := ['B4']) WHERE label = 'crop'", engine=con, output=False)
    return (chips,)


@app.cell
def _(chips, rasteret_sql, values):
    print("values", values.rows())
    print("shapes", [array.shape for array in rasteret_sql.to_numpy(chips, "B4")])
    return


@app.cell
def _(chips, rasteret_sql):
    rasteret_sql.show(chips)
    return


if __name__ == "__main__":
    app.run()
