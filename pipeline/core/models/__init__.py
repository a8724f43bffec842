"""Models that learn: statistics, snapshots, posteriors, draws and propensities. Pure; NumPy is the only library.

`learner` has what a policy says of a model, `statistics` what is gathered, `snapshots` what a decision reads,
`posterior` and `selection` how a decision draws and with which probability, `writer` what the model's one writer does.
"""
