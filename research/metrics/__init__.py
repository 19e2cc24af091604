"""How good answers are, whoever gave them: GLUE's metrics, SQuAD's, and those of tagged entities."""
