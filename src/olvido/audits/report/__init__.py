"""The report of an audit as a page that people read."""
