"""Texts, tokens, vocabularies, corpora on disk, and batches."""
