"""The report of an audit as a page that people read, and whether a report can be believed."""

from olvido.audits.report.check import check_report
from olvido.audits.report.page import page, write_page

__all__ = ["check_report", "page", "write_page"]
