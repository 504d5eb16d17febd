"""Files of data as rows: JSON, CSV, Parquet, and datasets saved by Hugging Face.

Every reader yields `(line, row)`, counted from 1, the row a BadRow where it cannot be read at all.
What a row must hold is not decided here but in `olvido.data.parsing`.
"""

from olvido.data.reading import Row, Rows, read_rows

__all__ = ["Row", "Rows", "read_rows"]
