"""Readers of data files as rows: JSON, CSV, Parquet, and datasets saved by Hugging Face.

Every reader yields `(line, row)`, counted from 1; an unreadable row is a BadRow. The required
content of a row is decided in `olvido.data.parsing`.
"""

from olvido.data.reading import Row, Rows, read_rows

__all__ = ["Row", "Rows", "read_rows"]
