"""Commands for a model: train it, make it forget, audit it, trace what it learned."""
