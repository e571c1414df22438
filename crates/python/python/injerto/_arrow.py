"""Tables of Arrow, for the engines that pass them on."""


def with_columns(table, column, keep, network):
    """The table with the columns that `network.columns` computes for the images in a column, which is left out unless `keep`."""
    import pyarrow

    table = table if isinstance(table, pyarrow.Table) else _table(pyarrow, table)
    if column not in table.column_names:
        raise ValueError(f"the table has no column {column!r} of images; it has {', '.join(table.column_names)}")
    columns = network.columns(table[column])
    table = table if keep else table.drop_columns([column])
    for name, values in columns.items():
        table = table.append_column(name, _array(pyarrow, name, values))
    return table


def _table(pyarrow, table):
    """Every object with Arrow's capsule interface becomes a table: one of Polars, DuckDB, arro3, or a record batch."""
    try:
        return pyarrow.table(table)
    except (TypeError, ValueError) as error:
        kind = type(table).__name__
        message = f"the type {kind} is no table: it needs Arrow's interface of capsules; `columns` takes images themselves"
        raise TypeError(message) from error


def _array(pyarrow, name, values):
    """A row of numbers becomes a list of fixed size; the other columns have known types, even if all values are missing."""
    if name in ("features", "probabilities"):
        kind = pyarrow.from_numpy_dtype(values.dtype)
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel(), kind), values.shape[1])
    kinds = {"probability": pyarrow.float32(), "unknown": pyarrow.bool_()}
    return pyarrow.array(values, kinds.get(name, pyarrow.string()))
