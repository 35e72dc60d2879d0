"""What is done with finished runs: reports, the ledger, comparison, reproduction, travel."""
