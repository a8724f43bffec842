"""Who belongs to whom: what the cluster holds, and what events would join before they do."""
