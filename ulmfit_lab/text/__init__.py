"""Texts: where they come from, how they become tokens, and which words a model knows."""
