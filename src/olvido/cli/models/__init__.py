"""The commands for models: train, forget, audit, trace."""
