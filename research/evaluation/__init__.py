"""Evaluation of language models as in the papers.

`tasks.evaluate(EvalModel(model, tokenizer), "lambada", path)` runs a task; `harness.Adapter` is a model for
EleutherAI's harness.
"""
