"""The sections of what is known of a person: one small type each, and the few operations that all of them have.

To know something more of a person: write a section here, with what an event tells of it (`hear`), and declare it in
`pipeline.core.subject`. Behaviour, merge, undo, erasure, audit and the stored bytes go over the declared sections and
know none of them by name; `tests/core/test_sections.py` holds each to the same laws.
"""
