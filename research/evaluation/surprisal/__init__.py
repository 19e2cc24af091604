"""Surprisal: minus the log-probability of each token and word of a text, under a GPT or a BERT."""
