"""Training with differential privacy: who is drawn, how much each counts, and what it promises."""
