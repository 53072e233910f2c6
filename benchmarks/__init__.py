"""Speed and quality, measured. Never asserted in tests: the machine is noisy."""
