"""What a run is made of: stages, each computed once and kept."""
