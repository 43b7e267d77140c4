"""The contract of the small models that tests make: is a flight late, by its distance and carrier."""

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract

CONTRACT = ModelContract(
    task="classification",
    inputs=[
        InputColumn(name="distance", type=ColumnType.NUMBER),
        InputColumn(name="carrier", type=ColumnType.TEXT),
    ],
    classes=[False, True],
)
