"""Statistics over what was decided and what came of it: off-policy evaluation, and experiments read. NumPy only."""
