"""Diagnosis and repair of a home folder and an installation."""
