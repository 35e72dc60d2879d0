"""A laboratory for transfer learning with language models: every claim an experiment, answered with runs."""
