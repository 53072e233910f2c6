"""Which image plays which role: codes, near-copies, roles, the manifest."""
