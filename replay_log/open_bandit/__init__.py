"""The demo's data: the Open Bandit Dataset's log, the policy it is decided under, and the mapping that reads it."""
