"""Commands for who answers requests: what is asked, done, certified, told and shown."""
