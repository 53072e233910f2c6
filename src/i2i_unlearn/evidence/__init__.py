"""Evidence of what was done for a request, signed, for a third party to verify offline. See docs/evidence.md."""
