"""Who may be champion, who was, and who decided that: what MLflow does not know of an alias."""
