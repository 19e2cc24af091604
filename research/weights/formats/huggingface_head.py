"""Transformers' classes with a head for a task, and config.json's keys for the head's outputs.

A BERT's head reads what ours does. A GPT's reads the state of the last token, or of every one, of plain
texts: ours do with model.special_tokens=false.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from research.config import Model
from research.errors import UsageError
from research.weights.layout import SAME, TRANSPOSED, Row, TaskHead


class NoClass(UsageError):
    """A model that no class of Transformers computes."""


class Head(NamedTuple):
    """One of Transformers' classes with a task head."""

    architecture: str
    name: str  # of the head's layer
    shape: str = "sequence"  # our model.head
    problem: str | None = None
    bias: bool = True

    @property
    def rows(self) -> tuple[Row, ...]:
        kernel = Row("task_head/kernel", f"{self.name}.weight", TRANSPOSED)
        return (kernel, Row("task_head/bias", f"{self.name}.bias", SAME)) if self.bias else (kernel,)

    def settings(self, family: str) -> dict[str, bool]:
        """The settings of our model that computes what the class does; a BERT has none."""
        return {} if family == "bert" else {"special_tokens": False, "head_bias": self.bias}


def _sequences(architecture: str, name: str, bias: bool = True) -> dict[str, Head]:
    """By our objectives."""
    return {
        "classification": Head(architecture, name, problem="single_label_classification", bias=bias),
        "regression": Head(architecture, name, problem="regression", bias=bias),
    }


BERT_HEADS = _sequences("BertForSequenceClassification", "classifier") | {
    "choice": Head("BertForMultipleChoice", "classifier"),
    "spans": Head("BertForQuestionAnswering", "qa_outputs", shape="tokens"),
    "tags": Head("BertForTokenClassification", "classifier", shape="tokens"),
}
GPT1_HEADS = _sequences("OpenAIGPTForSequenceClassification", "score", bias=False)
GPT2_HEADS = _sequences("GPT2ForSequenceClassification", "score", bias=False) | {
    "tags": Head("GPT2ForTokenClassification", "classifier", shape="tokens")
}
NAMES = ("classifier.", "qa_outputs.", "score.")  # beginnings of the names of heads' parameters

# Classes with heads that no objective here has.
UNSUPPORTED = {"GPT2ForQuestionAnswering": "objective.name=spans needs model.family=bert"}
LABELED = ("classification", "tags")  # objectives whose labels config.json names


def read_head(config: Mapping[str, Any], heads: Mapping[str, Head]) -> TaskHead | str:
    """The head that a config.json describes, or the reason why it describes none that is supported.

    Transformers leaves the number of choices to the data, so the head of `choice` has no labels.
    """
    named = config.get("architectures")
    name = str(named[0] if isinstance(named, list) and named else None)
    found = [objective for objective, head in heads.items() if head.architecture == name]
    if not found:
        return f"architectures={name}: {UNSUPPORTED.get(name, 'has no head of a task')}"
    if found[0] in ("choice", "spans"):
        return TaskHead(found[0], ())
    labels = _labels(config)
    if isinstance(labels, str) or found == ["tags"]:
        return labels if isinstance(labels, str) else TaskHead("tags", labels)
    problem = (
        config.get("problem_type") or heads["regression" if len(labels) == 1 else "classification"].problem
    )
    objective = next((objective for objective in found if heads[objective].problem == problem), None)
    if objective is None:
        known = " and ".join(str(heads[objective].problem) for objective in found)
        return f"problem_type={problem}: no objective here has it, only {known}"
    if (objective == "regression") != (len(labels) == 1):
        return f"problem_type={problem}: with {len(labels)} labels (id2label), which no objective here has"
    return TaskHead(objective, () if objective == "regression" else labels)


def outputs_of(head: TaskHead) -> int:
    """The number of a head's outputs."""
    return {"spans": 2, "choice": 1, "regression": 1}.get(head.objective, len(head.labels))


def find_head(config: Model, task_head: TaskHead | None, heads: Mapping[str, Head]) -> Head | None:
    """The head of a class for our model; None for pre-training heads. Raises NoClass if there is none."""
    if task_head is None and config.head == "pretraining":
        return None
    if task_head is None or task_head.objective not in heads:
        named = f"objective.name={task_head.objective}" if task_head else f"model.head={config.head}"
        raise NoClass(
            f"{named}: Transformers has no {config.family} with this head; "
            "start.weights and evaluate read the run itself"
        )
    head = heads[task_head.objective]
    for name, value in head.settings(config.family).items():
        if (given := getattr(config, name)) != value:
            raise NoClass(
                f"model.{name}={str(given).lower()}: Transformers' {head.architecture} has only "
                f"{str(value).lower()}; start.weights and evaluate read the run itself"
            )
    return head


def head_config(head: Head, task_head: TaskHead) -> dict[str, Any]:
    """Additional keys of a fine-tuned model's configuration: its class and labels."""
    found: dict[str, Any] = {"architectures": [head.architecture]}
    if head.problem is not None:
        found["problem_type"] = head.problem
    names = {"regression": ("score",), "classification": task_head.labels, "tags": task_head.labels}
    if labels := names.get(task_head.objective):
        found["id2label"] = {str(index): label for index, label in enumerate(labels)}
        found["label2id"] = {label: index for index, label in enumerate(labels)}
    return found


def _labels(config: Mapping[str, Any]) -> tuple[str, ...] | str:
    """Names by number, or what is wrong with them. Without id2label, LABEL_0 and so on as in Transformers."""
    named = config.get("id2label")
    if named is None:
        count = config.get("num_labels", 2)
        if not isinstance(count, int) or count < 1:
            return f"num_labels={count}: expected a number above 0"
        return tuple(f"LABEL_{index}" for index in range(count))
    try:
        names = {int(index): str(name) for index, name in named.items()}
    except (AttributeError, ValueError):
        return f"id2label={str(named)[:60]}: expected numbers and names"
    if not names or sorted(names) != list(range(len(names))):
        return f"id2label: numbers {','.join(map(str, sorted(names)))[:60] or 'none'}: expected all from 0"
    if len(set(names.values())) < len(names):
        return "id2label: two labels have the same name"
    return tuple(names[index] for index in range(len(names)))
