"""HTML pages: their common look, and how they format numbers, times and names."""

from olvido.reporting.render import Table, write_sheet

__all__ = ["Table", "write_sheet"]
