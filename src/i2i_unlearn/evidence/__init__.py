"""Evidence that a third party can check offline: what was done for a request, signed. See docs/evidence.md."""
