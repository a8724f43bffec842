"""A decision, step by step: consent, eligibility, channel policy, caps, experiments, ranking, fallback."""
