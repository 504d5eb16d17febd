"""What stands beside the tests and is no test."""

collect_ignore = ["core.py"]
