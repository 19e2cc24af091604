"""How good a model is, as the papers measure it.

`evaluate(Subject(model, tokenizer), "lambada", path)` is a task of TASKS; `harness.Adapter` is a model for
EleutherAI's harness.
"""
