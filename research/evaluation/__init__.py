"""Evaluation of language models, as in the papers that introduce each task.

`tasks.evaluate(EvalModel(model, tokenizer), "lambada", path)` runs a task; `harness.Adapter` wraps a model
for EleutherAI's lm-evaluation-harness.
"""
