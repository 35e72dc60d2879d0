"""Stages of a run: each is computed once, stored under its fingerprint and shared between runs."""
