"""The commands for requests: intake, runs, closure, certificates, letters, lists and service."""
