"""The memory that a compiler says a step needs, and what it says where there is none."""

import jax
import pytest

from research.devices.memory import Need, compile_step

GIGA = 2**30
HBM = "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
HBM += "Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G."
TEMPORARIES = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
TEMPORARIES += "(33.50G) exceeds available HBM (15.75G)."


class Refusing:
    """A program that a compiler refuses with `message`."""

    layout, rows = jax.sharding.SingleDeviceSharding(jax.devices()[0]), None

    def __init__(self, message):
        self.message = message

    def lower(self, *arguments):
        return self

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


def needed(message):
    return compile_step(Refusing(message), jax.ShapeDtypeStruct((GIGA // 4,), "float32"), {})


@pytest.mark.parametrize("message, temporaries", [(HBM, 19.5), (TEMPORARIES, 33.5)])
def test_a_tpus_compiler_that_refuses_says_how_much_it_takes(message, temporaries):
    """The first message is of all that a program needs, the second of what it needs beside its arguments."""
    text, need = needed(message)
    assert text == ""
    assert need == Need(GIGA, int(temporaries * GIGA), int((temporaries + 1) * GIGA), GIGA)


def test_other_faults_are_not_taken_for_it():
    with pytest.raises(jax.errors.JaxRuntimeError, match="vmem"):
        needed("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 17.00M of 16.00M vmem.")
