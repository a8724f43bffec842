"""Rules and what they read: CEL, facts, signals, segments, templates."""
