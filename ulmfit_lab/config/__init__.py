"""The config of a run: its schema, its bounds, access by dotted path, and the named scales."""
