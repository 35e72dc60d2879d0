"""Windows of a stream for language models, padded documents for classifiers."""
