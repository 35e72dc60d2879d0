"""Tables, figures and texts of results, and the files of the results folder."""
