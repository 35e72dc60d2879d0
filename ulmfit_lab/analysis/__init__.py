"""Statistics of tracked runs: comparisons, confidence intervals, interim analyses, associations."""
