"""Training data: what each decision saw, and what came of it. Nothing is read of today's state."""
