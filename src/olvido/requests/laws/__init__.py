"""Laws as data: what each regime says of deadlines, by versioned files with their sources."""

from olvido.requests.laws.clock import Clock, Deadline, Pause, deadline
from olvido.requests.laws.law import Law, Term
from olvido.requests.laws.shelf import find_law, laws

__all__ = ["Clock", "Deadline", "Law", "Pause", "Term", "deadline", "find_law", "laws"]
