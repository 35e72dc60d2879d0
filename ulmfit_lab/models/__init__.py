"""AWD-LSTM, heads, word vectors and checkpoints."""
