"""What is live for one tenant: the compiled release and the catalog at a version."""
