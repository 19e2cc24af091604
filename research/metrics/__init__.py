"""Metrics of predictions: GLUE's, SQuAD's, CoQA's, and those of tagged entities."""
