"""What somebody permits: statements, what is kept of them, and what follows from it."""
