"""Errors, files, locks, interrupts, the home folder, provenance, retries."""
