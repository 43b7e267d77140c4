"""The contract on the way out."""

from typing import Any

import pytest

from carrara.contracts.contract import ModelContract
from carrara.inference.failures import BadModelOutput
from carrara.inference.golden import first_difference
from carrara.inference.outputs import checked_outputs

CLASSIFIER = ModelContract(task="classification", inputs=[], classes=["ok", "late"])
REGRESSOR = ModelContract(task="regression", inputs=[])
GENERIC = ModelContract(task="generic", inputs=[])


@pytest.mark.parametrize(
    ("contract", "outputs"),
    [
        (CLASSIFIER, {"prediction": ["ok", "late"], "probabilities": [[1.0, 0.0], [0.2, 0.8]]}),
        (CLASSIFIER, {"prediction": ["ok", "late"]}),
        (REGRESSOR, {"prediction": [1, 2.5]}),
        (GENERIC, {"prediction": [None, {"a": [1, "b", True]}]}),
    ],
)
def test_right_outputs_pass_unchanged(contract: ModelContract, outputs: dict[str, Any]) -> None:
    assert checked_outputs(outputs, 2, contract) == outputs


@pytest.mark.parametrize(
    ("contract", "outputs", "said"),
    [
        (REGRESSOR, {"prediction": [1.0, float("nan")]}, "nan"),
        (REGRESSOR, {"prediction": [1.0, float("inf")]}, "inf"),
        (REGRESSOR, {"prediction": [1.0]}, "1 values for 2 rows"),
        (REGRESSOR, {"prediction": [1.0, "2"]}, "a str"),
        (REGRESSOR, {"prediction": [1.0, True]}, "a bool"),
        (REGRESSOR, {"prediction": 1.0}, "a float"),
        (REGRESSOR, {"answer": [1.0, 2.0]}, "answer"),
        (REGRESSOR, {"prediction": [1.0, 2.0], "probabilities": [[1.0], [1.0]]}, "no classes"),
        (CLASSIFIER, {"prediction": ["ok", "never"]}, "'never'"),
        (CLASSIFIER, {"prediction": ["ok", None]}, "NoneType"),
        (CLASSIFIER, {"prediction": ["ok", "ok"], "probabilities": [[1.0], [1.0]]}, "1 values for 2 rows"),
        (CLASSIFIER, {"prediction": ["ok", "ok"], "probabilities": [[1.0, 0.0], [1.5, -0.5]]}, "expected 0 to 1"),
        (CLASSIFIER, {"prediction": ["ok", "ok"], "probabilities": [[1.0, 0.0], [float("nan"), 0.0]]}, "nan"),
        (GENERIC, {"prediction": [1, {"deep": [float("nan")]}]}, "nan"),
        (GENERIC, {"prediction": [1, b"bytes"]}, "bytes"),
    ],
)
def test_fault_f31_wrong_outputs_are_the_models_fault(
    contract: ModelContract, outputs: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadModelOutput, match=said):
        checked_outputs(outputs, 2, contract)


def test_a_generic_answer_may_not_be_nested_without_end() -> None:
    value: Any = 1
    for _ in range(1000):
        value = [value]

    with pytest.raises(BadModelOutput, match="nested"):
        checked_outputs({"prediction": [value]}, 1, GENERIC)


@pytest.mark.parametrize(
    ("wanted", "got", "differs"),
    [
        ([1.0], [1.0 + 1e-10], False),
        ([1.0], [1.0 + 1e-6], True),
        (["late"], ["late"], False),
        (["late"], ["ok"], True),
        ([True], [1], True),
        ([[0.5, 0.5]], [[0.5, 0.5 + 1e-12]], False),
        ([[0.5, 0.5]], [[0.5]], True),
        ([{"a": 1.0}], [{"a": 2.0}], True),
        ([{"a": 1.0}], [{"b": 1.0}], True),
        ([1.0, 2.0], [1.0], True),
        ([None], [None], False),
    ],
)
def test_golden_answers_are_compared_within_the_tolerance(wanted: list[Any], got: list[Any], differs: bool) -> None:
    found = first_difference({"prediction": wanted}, {"prediction": got}, 1e-9)

    assert (found is not None) is differs


def test_an_output_that_only_one_side_has_is_a_difference() -> None:
    assert first_difference({"prediction": [1]}, {"prediction": [1], "probabilities": [[1]]}, 0.0) is not None
