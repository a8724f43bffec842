"""Rules in CEL: the subset marketers write, compiled to plain Python functions that agree with Google's library.

`syntax` reads the text, `build` checks its types and makes the function, `functions` holds what a rule may call,
`reference` is the library itself: the second opinion at publish time and the oracle of the differential tests.
"""
