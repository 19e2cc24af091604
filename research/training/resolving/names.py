"""The settings that decide others, by dotted name."""

from typing import Any

BLOCK, LORA = "model.block", "lora"  # of adapters
WEIGHTS, TOKENIZER, SOURCE, VALIDATION = "start.weights", "data.tokenizer", "data.source", "data.validation"
SOURCES = (SOURCE, VALIDATION)
VOCABULARY = "model.vocabulary"
DECISIVE = (SOURCE, TOKENIZER)  # settings of the data, if they are typed

Settings = dict[str, Any]  # by dotted name
