"""Diagnosis and repair of a home and an installation."""
