"""The small model and the few records of `tests/learners`."""

from tests.learners.conftest import few, short, small

__all__ = ["few", "short", "small"]
