"""Every topic and table, as data."""
