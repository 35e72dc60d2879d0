"""Statistics of tracked runs: comparisons, intervals, interim analyses, associations. Numbers only."""
