"""Blocks as another package would add them: parallel branches, experts, attention of other kinds."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from research.config.names import BLOCKS
from research.errors import UsageError
from research.models.axes import parameter, stacked
from research.models.linear import Linear
from research.models.ops.dropout import dropout
from research.models.parts.blocks import MLP, Attention, Block, auxiliary_loss


@BLOCKS.register("parallel")
class Parallel(Block):
    """Attention and MLP of one normalized state, summed (Wang & Komatsuzaki, 2021)."""

    def __init__(self, config, init, init_output, *, key):
        super().__init__(config, init, init_output, key=key)
        self.mlp_norm = None

    def __call__(self, x_BLD, attend, rotate, key=None, cache=None):
        key_attention, key_sum = (None, None) if key is None else jax.random.split(key)
        y_BLD = self.attention_norm(x_BLD)
        attended_BLD, cache = self.attention(y_BLD, attend, rotate, key_attention, cache)
        y_BLD = attended_BLD + self.mlp(y_BLD)
        return x_BLD + dropout(y_BLD, self.dropout, key_sum, self.generator), cache


@dataclass(frozen=True)
class Experts:
    number: int = 4  # MLPs of a block [experts; above 0]
    used: int = 2  # experts that compute a token [experts; above 0]
    balance: float = 0.01  # weight of the loss that spreads tokens over experts [share; from 0]


class Mixture(nnx.Module):
    """The sum of the best experts of each token, weighted by the router (Shazeer et al., 2017)."""

    def __init__(self, config, init, init_output, *, key):
        self.own = config.own.block
        key_experts, key_router = jax.random.split(key)
        keys = jax.random.split(key_experts, self.own.number)
        self.experts = stacked(jax.vmap(lambda key: MLP(config, init, init_output, key=key))(keys))
        self.router = Linear(
            config.width, (self.own.number,), init, False, key=key_router, axes=("fsdp", None)
        )

    def __call__(self, x_BLD):
        shares_BLE = jax.nn.softmax(self.router(x_BLD).astype(jnp.float32))
        best, which = lax.top_k(shares_BLE, self.own.used)
        gates_BLE = jnp.einsum("BLk,BLkE->BLE", best, jax.nn.one_hot(which, self.own.number))
        used_E, shares_E = (gates_BLE > 0).mean((0, 1)) / self.own.used, shares_BLE.mean((0, 1))
        auxiliary_loss(self.own.balance * self.own.number * (used_E * shares_E).sum())  # Fedus et al. (2021)
        outputs_EBLD = jax.vmap(lambda expert: expert(x_BLD))(self.experts)
        return jnp.einsum("EBLD,BLE->BLD", outputs_EBLD, gates_BLE.astype(x_BLD.dtype))


@BLOCKS.register("experts", settings=Experts)
class ExpertsBlock(Block):
    mlp_class = Mixture


class Differential(Attention):
    """Attention less a share of a second one, in heads of half the size (Ye et al., 2024)."""

    def __init__(self, config, init, init_output, *, key):
        super().__init__(config, init, init_output, key=key)
        self.share = parameter(jnp.zeros(()))

    def mix(self, q, k, v, attend, mask):
        q1, q2 = jnp.split(q, 2, axis=-1)
        k1, k2 = jnp.split(k, 2, axis=-1)
        return attend(q1, k1, v, mask) - self.share[...].astype(v.dtype) * attend(q2, k2, v, mask)


@BLOCKS.register("differential")
class DifferentialBlock(Block):
    attention_class = Differential


class Memory(NamedTuple):
    sums_BHKK: Array  # of keys times values
    keys_BHK: Array  # of keys


class Linearized(Attention):
    """Attention without a softmax, a recurrence when decoding (Katharopoulos et al., 2020)."""

    def __call__(self, x_BLD, attend, rotate, key, cache):
        if not attend.mask.causal or attend.mask.documents_BL is not None:
            raise UsageError("model.block=linear: expected a GPT that attends to whole windows")
        B, L, D = x_BLD.shape
        qkv = self.qkv(x_BLD).astype(jnp.float32).reshape(B, L, 3, self.heads, D // self.heads)
        q, k, v = jax.nn.elu(qkv[:, :, 0]) + 1, jax.nn.elu(qkv[:, :, 1]) + 1, qkv[:, :, 2]
        if (padding_B := attend.mask.padding_B) is not None:
            places_L = attend.mask.start + jnp.arange(L)
            k = jnp.where((places_L >= padding_B[:, None])[:, :, None, None], k, 0)
        scores = jnp.tril(jnp.einsum("BLHK,BSHK->BHLS", q, k))
        sums, weights = jnp.einsum("BHLS,BSHK->BLHK", scores, v), scores.sum(-1).swapaxes(1, 2)
        if cache is not None:
            sums += jnp.einsum("BLHK,BHKV->BLHV", q, cache.sums_BHKK)
            weights += jnp.einsum("BLHK,BHK->BLH", q, cache.keys_BHK)
            added = Memory(jnp.einsum("BSHK,BSHV->BHKV", k, v), k.sum(1))
            cache = jax.tree.map(jnp.add, cache, added)
        y = sums / jnp.maximum(weights, 1e-6)[..., None]
        return self.output(y.reshape(B, L, D).astype(x_BLD.dtype)), cache


@BLOCKS.register("linear")
class LinearBlock(Block):
    attention_class = Linearized

    @staticmethod
    def empty_cache(config, rows, places):
        size = config.width // config.heads
        return Memory(jnp.zeros((rows, config.heads, size, size)), jnp.zeros((rows, config.heads, size)))
