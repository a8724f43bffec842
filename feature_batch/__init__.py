"""Features beside the stream: shown, and computed from logs by the definitions that the stream counts by."""
