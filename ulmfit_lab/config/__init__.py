"""Config of a run: schema, bounds, dotted paths and named scales."""
