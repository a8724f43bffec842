"""Reads experiments: what each variation did per subject, with intervals that hold at every look."""
