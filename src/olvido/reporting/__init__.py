"""Pages for people: how all of them look, and how they say numbers, times and names."""

from olvido.reporting.render import Table, write_sheet

__all__ = ["Table", "write_sheet"]
