"""Methods that use the weights which a model was trained from: they never held the forget set."""
