"""Adapters of Hugging Face's PEFT, as `model.block=lora`: in and out."""
