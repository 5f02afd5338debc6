"""Rows of tables by their numbers; the elementwise part of LSTM and GRU."""
