"""A contender: the step in PyTorch, through Transformers. Run by peers.py.

The same work as ours: forward, cross-entropy over every target, backward, clipping by the global norm, fused
AdamW with decay on matrices alone. BERT's masked head is given the masked positions only, which
BertForPreTraining itself would not do; so both sides leave the same work out.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from research.config import Experiment
from research.devices.malloc import keep_freed_memory
from tests.benchmarks.sizes import declared
from tests.benchmarks.turns import serve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--changes", type=json.loads, default={})
    parser.add_argument("--keep-freed", action="store_true")
    arguments = parser.parse_args()
    kept = arguments.keep_freed and keep_freed_memory()
    experiment = declared(arguments.size, arguments.changes)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as JAX's default there
    model = Peer(experiment).to(device).train()
    if arguments.compile:
        model = torch.compile(model)
    step = make_step(experiment, model, device, arguments.precision)
    began = time.perf_counter()
    step()
    facts = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "allocator": "glibc, freed memory kept" if kept else "glibc" if device.type == "cpu" else "PyTorch's",
        "first_step": time.perf_counter() - began,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    serve(step, 1, facts)


class Peer(nn.Module):
    """The Transformers model of an experiment, called with a batch's tensors for its loss."""

    def __init__(self, experiment: Experiment):
        super().__init__()
        m = experiment.model
        dropped = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), m.dropout)
        sizes = {"n_embd": m.width, "n_layer": m.depth, "n_head": m.heads, "n_positions": m.context}
        self.family = m.family
        if m.family == "gpt2":
            known = transformers.GPT2Config(vocab_size=m.vocabulary, use_cache=False, **sizes, **dropped)
            self.inner = transformers.GPT2LMHeadModel._from_config(known, attn_implementation="sdpa")
        elif m.family == "gpt1":  # Transformers has no other attention for it than the plain one
            known = transformers.OpenAIGPTConfig(vocab_size=m.vocabulary, **sizes, **dropped)
            self.inner = transformers.OpenAIGPTLMHeadModel(known)
        else:
            known = transformers.BertConfig(
                vocab_size=m.vocabulary,
                hidden_size=m.width,
                num_hidden_layers=m.depth,
                num_attention_heads=m.heads,
                intermediate_size=4 * m.width,
                max_position_embeddings=m.context,
                hidden_act="gelu_new",
                hidden_dropout_prob=m.dropout,
                attention_probs_dropout_prob=m.dropout,
            )
            self.inner = transformers.BertForPreTraining._from_config(known, attn_implementation="sdpa")

    def forward(self, batch):
        if self.family != "bert":
            logits = self.inner(batch["tokens"]).logits
            return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), batch["targets"].view(-1))
        states, pooled = self.inner.bert(
            batch["tokens"],
            token_type_ids=batch["segments"],
            attention_mask=batch["mask"],
            return_dict=False,
        )[:2]
        masked = states.gather(1, batch["positions"][..., None].expand(-1, -1, states.shape[-1]))
        logits, follows = self.inner.cls(masked, pooled)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), batch["targets"].view(-1))
        return loss + F.cross_entropy(follows.float(), batch["next_targets"])


def make_step(experiment: Experiment, model: nn.Module, device: torch.device, precision: str):
    o = experiment.optimizer
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": o.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, o.rate.peak, (o.b1, o.b2), o.epsilon, fused=True)
    batch = random_batch(experiment, device)
    bfloat16 = precision != "float32"

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            loss = model(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), o.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device

    return step


def random_batch(experiment: Experiment, device: torch.device) -> dict[str, torch.Tensor]:
    B, L, V = experiment.data.batch, experiment.data.length, experiment.model.vocabulary
    P = experiment.data.masking.predictions if experiment.model.family == "bert" else L
    batch = {"tokens": torch.randint(V, (B, L)), "targets": torch.randint(V, (B, P))}
    if experiment.model.family == "bert":
        batch |= {
            "segments": torch.randint(2, (B, L)),
            "mask": torch.ones(B, L, dtype=torch.long),
            "positions": torch.rand(B, L).argsort(1)[:, :P].contiguous(),
            "next_targets": torch.randint(2, (B,)),
        }
    return {name: tensor.to(device) for name, tensor in batch.items()}


if __name__ == "__main__":
    sys.exit(main())
