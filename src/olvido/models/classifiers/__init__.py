"""Models that score classes: networks made by a factory, and classifiers of transformers."""
