"""Metrics of predictions: GLUE's, SQuAD's, and those of tagged entities."""
