"""Images, forget requests and the split manifest."""
