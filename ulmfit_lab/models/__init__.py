"""The AWD-LSTM, its heads, word vectors, and checkpoints."""
