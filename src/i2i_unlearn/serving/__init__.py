"""Using a finished model: the registered version, the command `complete`, export, and the similarity filter."""
