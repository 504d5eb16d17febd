"""What a training kept so that its model can forget: a trace, or a chain of them."""
