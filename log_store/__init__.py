"""The log store: what the topics carried, as Parquet by tenant and day, for as long as each tenant keeps it.

Stands on the pipeline; nothing of the pipeline knows it. How it is exactly once, and why erasure reaches it:
docs/adr/0026-log-store.md.
"""
