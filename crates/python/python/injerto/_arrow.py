"""Columns for tables of Arrow."""


def with_columns(table, columns):
    """The table with further columns: lists, or NumPy arrays of which each row becomes a list of fixed size."""
    import pyarrow

    for name, values in columns.items():
        if getattr(values, "ndim", 1) == 2:
            kind = pyarrow.from_numpy_dtype(values.dtype)
            values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel(), kind), values.shape[1])
        elif name in ("error", "label"):
            values = pyarrow.array(values, pyarrow.string())
        elif name == "unknown":
            values = pyarrow.array(values, pyarrow.bool_())
        elif name == "probability":
            values = pyarrow.array(values, pyarrow.float32())
        table = table.append_column(name, values)
    return table
