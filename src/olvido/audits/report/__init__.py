"""The report of an audit as a page that people read."""

from olvido.audits.report.page import page, write_page

__all__ = ["page", "write_page"]
