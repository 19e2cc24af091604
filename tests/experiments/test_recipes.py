"""Constants of the recipes against the originals' code, each with the place where it stands there.

BERT: google-research/bert at eedf571. GPT-2: karpathy/llm.c at its last commit, karpathy/nanoGPT's. Numbers
are written down here by hand; what differs is listed with its reason, which a docstring states too.
"""

import inspect

import pytest

import experiments
from research.config import space
from research.config.settings import flatten
from research.data.tokenizers.published import LONGEST
from research.models.bert import SEGMENTS

# bert_config.json of uncased_L-12_H-768_A-12 holds BertConfig's values (modeling.py, lines 33 to 45) but for
# the vocabulary, and 2 segments instead of 16.
BERT_MODEL = {
    "model.vocabulary": 30_522,
    "model.width": 768,  # hidden_size
    "model.depth": 12,  # num_hidden_layers
    "model.heads": 12,  # num_attention_heads
    "model.context": 512,  # max_position_embeddings
    "model.dropout": 0.1,  # hidden_dropout_prob, attention_probs_dropout_prob
    "model.norm_epsilon": 1e-12,  # modeling.py: contrib_layers.layer_norm, variance_epsilon
    "model.activation": "gelu_tanh",  # modeling.py, gelu: "tanh approximation" of Hendrycks & Gimpel
    "model.norm": "post",  # modeling.py, transformer_model: layer_norm(output + input)
}
BERT_OPTIMIZER = {  # optimization.py, create_optimizer
    "optimizer.name": "bert_adam",  # AdamWeightDecayOptimizer: no bias correction
    "optimizer.b1": 0.9,  # beta_1
    "optimizer.b2": 0.999,  # beta_2
    "optimizer.epsilon": 1e-6,
    "optimizer.decay": 0.01,  # weight_decay_rate
    "optimizer.clip": 1.0,  # clip_by_global_norm
    "optimizer.rate.name": "bert",  # polynomial_decay of power 1 to 0, and a warm-up from 0
    "optimizer.rate.final": 0.0,  # end_learning_rate
    "optimizer.ema": None,
}
BERT_PRETRAINING = {
    "data.masking.drawn": "static",  # create_pretraining_data.py writes masks into its examples
    "data.masking.duplicates": 10,  # dupe_factor; the README's example has 5
    "data.masking.share": 0.15,  # masked_lm_prob
    "data.masking.predictions": 20,  # max_predictions_per_seq, at max_seq_length 128
    "data.masking.short": 0.1,  # short_seq_prob
    "data.masking.mask": 0.8,  # create_masked_lm_predictions: rng.random() < 0.8
    "data.masking.random": 0.1,  # half of the others
    "data.masking.whole_words": False,  # do_whole_word_mask
    "data.masking.next": "published",  # create_instances_from_document: one sentence, or rng.random() < 0.5
    "data.length": 128,  # max_seq_length
    "data.batch": 256,  # the paper, appendix A.2; train_batch_size's default is 32
    "data.later.step": 900_000,  # A.2: 90% of the steps at 128
    "data.later.length": 512,  # A.2
    "data.later.predictions": 77,  # README: about max_seq_length × masked_lm_prob
    "optimizer.rate.peak": 1e-4,  # A.2; learning_rate's default is 5e-5
    "optimizer.rate.warmup": 10_000,  # num_warmup_steps
    "run.steps": 1_000_000,  # A.2; num_train_steps' default is 100,000
    "objective.next": 1.0,  # run_pretraining.py: total_loss = masked_lm_loss + next_sentence_loss
}
FINE_TUNING = {  # run_classifier.py, and the README's command
    "data.length": 128,  # max_seq_length
    "data.batch": 32,  # train_batch_size
    "optimizer.rate.peak": 2e-5,  # the README's; learning_rate's default is 5e-5
}
SQUAD = {  # run_squad.py, and the README's command for SQuAD 1.1 and BERT-base
    "data.length": 384,  # max_seq_length
    "data.batch": 12,
    "optimizer.rate.peak": 3e-5,
    "task.stride": 128,  # doc_stride
    "task.question": 64,  # max_query_length
    "task.answer": 30,  # max_answer_length
    "task.best": 20,  # n_best_size
    "task.null_threshold": 0.0,  # null_score_diff_threshold
}
EXAMPLES = {  # of the training sets, as published: (examples, epochs)
    "bert_cola": (8_551, 3),
    "bert_sst2": (67_349, 3),
    "bert_mrpc": (3_668, 3),
    "bert_stsb": (5_749, 3),
    "bert_qqp": (363_849, 3),
    "bert_mnli": (392_702, 3),
    "bert_qnli": (104_743, 3),
    "bert_rte": (2_490, 3),
    "bert_wnli": (635, 3),
    "bert_ner": (14_041, 3),
    "bert_swag": (73_546, 3),
    "bert_squad": (87_599, 2),
    "bert_squad2": (130_319, 2),
}
GPT2_MODEL = {  # openai/gpt-2, model.py and hparams.json
    "model.vocabulary": 50_257,  # n_vocab; both reproductions pad the table to 50,304 rows
    "model.context": 1_024,  # n_ctx
    "model.dropout": 0.0,  # llm.c has none; nanoGPT: dropout = 0.0
    "model.norm_epsilon": 1e-5,  # model.py, norm: epsilon
    "model.activation": "gelu_tanh",  # model.py, gelu
    "model.norm": "pre",
}
GPT2_OPTIMIZER = {  # llm.c: gpt2_update(…, 0.9f, 0.95f, 1e-8f, …), grad_clip 1; nanoGPT: train.py's defaults
    "optimizer.name": "adamw",
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.95,
    "optimizer.epsilon": 1e-8,
    "optimizer.decay": 0.1,  # -c 0.1; weight_decay = 1e-1
    "optimizer.clip": 1.0,
    "optimizer.rate.name": "cosine",
}
# llm.c, scripts/run_gpt2_*.sh: -e d12…, -l rate, -u warm-up, -q final fraction, -d tokens a step, -x steps.
LLM_C = {
    "gpt2_small": (12, 768, 12, 6e-4, 700, 0.0, 524_288, 18_865, "fineweb/sample/10BT"),
    "gpt2_medium": (24, 1_024, 16, 3e-4, 700, 0.0, 524_288, 60_000, "fineweb/sample/100BT"),
    "gpt2_large": (36, 1_280, 20, 2.5e-4, 700, 0.0, 524_288, 286_102, "fineweb/sample/100BT"),
    "gpt2_xl": (48, 1_600, 25, 6e-4, 700, 0.1, 1_048_576, 32_000, "fineweb-edu/sample/100BT"),
}
# nanoGPT, config/train_gpt2.py, and train.py for what it leaves as it is.
NANOGPT = {
    "model.depth": 12,
    "model.heads": 12,
    "model.width": 768,
    "model.bias": False,
    "data.batch": 12 * 5 * 8,  # batch_size × gradient_accumulation_steps = 5 × 8
    "data.length": 1_024,  # block_size
    "data.order": "random",  # get_batch: torch.randint
    "data.holdout": 0.0005,  # data/openwebtext/prepare.py: test_size
    "optimizer.rate.peak": 6e-4,  # learning_rate
    "optimizer.rate.warmup": 2_000,  # warmup_iters
    "optimizer.rate.final": 6e-5 / 6e-4,  # min_lr
    "run.steps": 600_000,  # max_iters, lr_decay_iters
}


def different(name: str, expected: dict) -> dict:
    """{setting: (ours, theirs)} where they differ."""
    ours = flatten(experiments.get(name))
    return {key: (ours[key], value) for key, value in expected.items() if ours[key] != pytest.approx(value)}


def test_pre_training_of_bert():
    assert not different("bert_base", BERT_MODEL | BERT_OPTIMIZER | BERT_PRETRAINING)
    cased = BERT_MODEL | {"model.vocabulary": 28_996}  # cased_L-12_H-768_A-12's vocab.txt
    assert not different("bert_base_cased", cased | BERT_OPTIMIZER | BERT_PRETRAINING)
    large = BERT_MODEL | {"model.width": 1_024, "model.depth": 24, "model.heads": 16}  # uncased_L-24_H-1024
    assert not different("bert_large", large | BERT_OPTIMIZER | BERT_PRETRAINING)
    assert SEGMENTS == 2  # type_vocab_size of the published configurations
    assert LONGEST == 200  # tokenization.py: max_input_chars_per_word


def test_the_ablations_of_table_5_change_one_thing_each():
    base = BERT_MODEL | BERT_OPTIMIZER | BERT_PRETRAINING
    assert different("bert_base_no_nsp", base) == {"objective.next": (0.0, 1.0)}
    assert not different("bert_base_ltr", base | {"objective.name": "left_to_right", "model.left_only": True})


@pytest.mark.parametrize("name", EXAMPLES)
def test_fine_tuning_of_bert(name):
    """Steps and warm-up are rounded down: run_classifier.py, lines 843 to 845, run_squad.py, 1160 to 1162."""
    examples, epochs = EXAMPLES[name]
    recipe = SQUAD if name.startswith("bert_squad") else FINE_TUNING
    own = {
        "bert_ner": {"optimizer.rate.peak": 5e-5, "model.vocabulary": 28_996},
        "bert_swag": {"data.batch": 16},
    }
    expected = BERT_MODEL | BERT_OPTIMIZER | recipe | own.get(name, {})
    steps = int(examples / expected["data.batch"] * epochs)
    schedule = {"run.steps": steps, "optimizer.rate.warmup": int(steps * 0.1)}  # warmup_proportion
    assert not different(name, expected | schedule)
    assert f"{steps:,} steps of {expected['data.batch']} of {examples:,}" in experiments.describe(name)


@pytest.mark.parametrize("name", LLM_C)
def test_gpt2_as_llm_c_trains_it(name):
    depth, width, heads, peak, warmup, final, tokens, steps, folder = LLM_C[name]
    sizes = {"model.depth": depth, "model.width": width, "model.heads": heads, "model.bias": True}
    rate = {"optimizer.rate.peak": peak, "optimizer.rate.warmup": warmup, "optimizer.rate.final": final}
    run = {"data.batch": tokens // 1_024, "data.length": 1_024, "run.steps": steps}
    data = {"data.source": f"files:{folder}/*.parquet"}  # dev/data/fineweb.py: sample-10BT, sample-100BT
    assert not different(name, GPT2_MODEL | GPT2_OPTIMIZER | sizes | rate | run | data)


def test_the_speedrun():
    """KellerJordan/modded-nanogpt at f411b3d: records/track_1_short/2024-10-13_llmc, train_gpt.py."""
    expected = {
        "data.split": "head",
        "data.head": 10_485_760,  # val_tokens, of the shard that data/fineweb.py fills first
        "data.source": "files:fineweb/sample/10BT/*.parquet",  # remote_name = "sample-10BT"
        "data.batch": 512,
        "optimizer.rate.peak": 6e-4,  # main.log: lr after step 700
        "optimizer.rate.warmup": 700,
        "optimizer.rate.final": 0.0,
        "run.steps": 19_560,  # main.log's last step
        "run.evaluate_every": 250,  # val_loss_every
        "run.stop_at": "loss<=3.28",  # README.md, "Rules", 2
    }
    assert not different("gpt2_speedrun", GPT2_MODEL | GPT2_OPTIMIZER | expected)


def test_gpt2_as_nanogpt_trains_it():
    assert not different("gpt2_small_openwebtext", GPT2_MODEL | GPT2_OPTIMIZER | NANOGPT)


def test_differences_are_stated_where_the_recipes_are():
    said = " ".join(
        f"{inspect.getdoc(experiments.gpt2)} {inspect.getdoc(experiments.bert_finetuning)}".split()
    )
    for sentence in (
        "validation is one percent of documents, by hash, where llm.c takes the first 100M tokens",
        "The table has 50,257 rows, which both pad to 50,304",
        "Examples are shuffled over all files, llm.c's within each shard",
        "The cosine ends at the last step, not one step later",
        "Google's code shuffles within 100 of them",
    ):
        assert sentence in said


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"])
def test_the_rate_is_chosen_on_the_development_set(task):
    """Devlin et al. (2018), section 4.1: the best of 5e-5, 4e-5, 3e-5 and 2e-5, for each task of GLUE."""
    sweep, base = experiments.get_sweep(f"bert_{task}_rates"), experiments.get(f"bert_{task}")
    assert space.points(sweep.space) == [{"optimizer.rate.peak": rate} for rate in (5e-5, 4e-5, 3e-5, 2e-5)]
    assert (sweep.base, sweep.metric, sweep.direction) == (base, base.task.metrics[0], "maximize")
