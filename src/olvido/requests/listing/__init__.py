"""Lists of requests: their rows, what they are filtered by, and what they come to together."""

from olvido.requests.listing.export import as_csv, exported
from olvido.requests.listing.filters import (
    ALL,
    DUE,
    NOBODY,
    OPEN,
    STATUSES,
    Filter,
    ids_named,
    search,
)
from olvido.requests.listing.rows import Row, in_order, laws_asked, row_of, row_of_brief
from olvido.requests.listing.summary import MONTHS, summary

__all__ = [
    "ALL",
    "DUE",
    "MONTHS",
    "NOBODY",
    "OPEN",
    "STATUSES",
    "Filter",
    "Row",
    "as_csv",
    "exported",
    "ids_named",
    "in_order",
    "laws_asked",
    "row_of",
    "row_of_brief",
    "search",
    "summary",
]
