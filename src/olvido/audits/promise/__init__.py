"""Audits of a promise of privacy: of the step that was to keep it, and of what the weights show."""
