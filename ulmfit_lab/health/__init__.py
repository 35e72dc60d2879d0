"""What is wrong with a home or an installation, and its repair."""
