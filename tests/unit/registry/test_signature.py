"""MLflow signatures as contracts."""

import json
from typing import Any

import pytest

from carrara.contracts.contract import ColumnType
from carrara.kernel.errors import Invalid
from carrara.registry.signature import MAX_COLUMNS, contract_of


def signed(*columns: Any) -> dict[str, Any]:
    return {"inputs": json.dumps(columns), "outputs": None}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("long", ColumnType.INTEGER),
        ("integer", ColumnType.INTEGER),
        ("double", ColumnType.NUMBER),
        ("float", ColumnType.NUMBER),
        ("string", ColumnType.TEXT),
        ("boolean", ColumnType.BOOLEAN),
        ("datetime", ColumnType.TIMESTAMP),
    ],
)
def test_each_scalar_type_has_its_column_type(kind: str, expected: ColumnType) -> None:
    contract = contract_of(signed({"type": kind, "name": "a", "required": True}, {"type": kind, "name": "b"}))
    assert [(column.type, column.nullable) for column in contract.inputs] == [(expected, False), (expected, False)]
    assert contract.task == "generic"


def test_an_optional_column_is_nullable() -> None:
    assert contract_of(signed({"type": "double", "name": "a", "required": False})).inputs[0].nullable


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        (None, "no signature"),
        ({}, "no signature"),
        ({"inputs": None}, "no signature"),
        ({"inputs": "[]"}, "names no inputs"),
        ({"inputs": "{}"}, "names no inputs"),
        ({"inputs": "[" * 100_000}, "not JSON"),
        ({"inputs": "nonsense"}, "not JSON"),
        ({"inputs": 7}, "names no inputs"),
        (signed({"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}), "tensor"),
        (signed({"type": "double"}), "no name"),
        (signed({"type": "binary", "name": "photo"}), "column photo is binary"),
        (signed({"type": "array", "name": "a", "items": {"type": "long"}}), "column a is array"),
        (signed({"type": ["long"], "name": "a"}), "column a is"),
        (signed("a"), "not a column"),
        (signed({"type": "long", "name": "a"}, {"type": "long", "name": "a"}), "there twice"),
        (signed(*[{"type": "long", "name": f"c{n}"} for n in range(MAX_COLUMNS + 1)]), "limit"),
    ],
)
def test_what_cannot_be_served_is_named(signature: Any, told: str) -> None:
    with pytest.raises(Invalid, match=told) as caught:
        contract_of(signature)
    assert caught.value.code == "no_signature"
