"""Tables, figures and texts of the results, and the results folder."""
