"""Features: what events of behaviour add up to, kept per subject and read at a moment."""
