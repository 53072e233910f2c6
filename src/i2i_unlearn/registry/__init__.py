"""Who may be champion, who was, and who decided it: what MLflow does not record about an alias."""
