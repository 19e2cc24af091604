"""The registries: the names that each setting takes. Other packages register names here too."""

from research.config.registry import Registry

FAMILIES: Registry = Registry(  # see research.models
    "model.family", "gpt1", "gpt2", "bert", own_settings=True
)
BLOCKS: Registry = Registry(  # see research.models.parts.blocks
    "model.block", "transformer", "lora", own_settings=True
)
NORMS: Registry = Registry("model.normalization", "layer", "rms", own_settings=True)
POSITIONS: Registry = Registry("model.positions", "learned", "rotary", "alibi", "none", own_settings=True)
ACTIVATIONS: Registry = Registry(
    "model.activation", "gelu_tanh", "gelu_erf", "relu_squared", "swiglu", own_settings=True
)
OBJECTIVES: Registry = Registry(  # see research.objectives.objective
    "objective.name",
    "next_token",
    "masked_token",
    "left_to_right",
    "classification",
    "regression",
    "soft_scores",
    "choice",
    "spans",
    "tags",
    own_settings=True,
)
OPTIMIZERS: Registry = Registry(  # (Optimizer, rate) → optax.GradientTransformation
    "optimizer.name",
    "adamw",
    "gpt1_adam",
    "bert_adam",
    "sgd",
    "lion",
    "lamb",
    "adafactor",
    "muon",
    "normuon",
    "soap",
    "sophia",
    "schedule_free_adamw",
    own_settings=True,
)
SCHEDULES: Registry = Registry(  # (step, Schedule, steps) → share of the peak
    "optimizer.rate.name",
    "constant",
    "linear",
    "cosine",
    "inverse_sqrt",
    "warmup_stable_decay",
    "bert",
    "gpt1_cosine",
    "gpt1_linear",
    "transformers_linear",
    own_settings=True,
)
SCHEMES: Registry = Registry(  # see research.data.sources.schemes
    "data.source", "rest", "drawn", "tokens", "hf", "files", "tfds"
)
EVALUATORS: Registry = Registry("run.evaluators", "parameter_rms")  # see research.training.evaluating
TRACKERS: Registry = Registry("run.trackers", "tensorboard", "wandb")  # see research.training.logging.tracker
TASKS: Registry = Registry(  # see research.evaluation.tasks
    "--task",
    "lambada",
    "cbt_cn",
    "cbt_ne",
    "wikitext2",
    "wikitext103",
    "ptb",
    "1bw",
    "enwik8",
    "text8",
    "summarization",
    "en_fr",
    "fr_en",
    "coqa",
    "questions",
    "mctest",
)
