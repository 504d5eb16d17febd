"""Reminders before deadlines, by e-mail or webhook: numbers and days, and never a name."""

from olvido.requests.reminders.configuration import Configuration, configuration
from olvido.requests.reminders.delivery import Failed
from olvido.requests.reminders.reminding import Reminded, due_rows, remind

__all__ = ["Configuration", "Failed", "Reminded", "configuration", "due_rows", "remind"]
