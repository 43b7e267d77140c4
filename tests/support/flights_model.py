"""A small classifier of made-up departures, as a user would fit it and save it with mlflow."""

import random
import warnings
from pathlib import Path
from typing import Any

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract

CONTRACT = ModelContract(
    task="classification",
    classes=["on time", "late"],
    inputs=[
        InputColumn(name="dep_delay", type=ColumnType.NUMBER, nullable=True),
        InputColumn(name="distance", type=ColumnType.INTEGER),
        InputColumn(name="carrier", type=ColumnType.TEXT, nullable=True),
    ],
    example={"dep_delay": 3.5, "distance": 700, "carrier": "UA"},
)


def flights(count: int, seed: int) -> dict[str, list[Any]]:
    """Columns of made-up departures, some values missing."""
    dice = random.Random(seed)
    return {
        "dep_delay": [None if dice.random() < 0.1 else round(dice.gauss(10, 30), 1) for _ in range(count)],
        "distance": [dice.randrange(80, 4000) for _ in range(count)],
        "carrier": [dice.choice(["UA", "AA", "B6", None]) for _ in range(count)],
    }


def save_with_mlflow(folder: Path) -> Path:
    """A pipeline with imputation, scaling, one-hot columns and trees, fitted and saved as a user would."""
    import mlflow.sklearn
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from carrara.inference.frames import to_frame
    from carrara.inference.trusted import TRUSTED_TYPES

    columns = flights(400, seed=1)
    frame = to_frame(columns, CONTRACT)
    labels = ["late" if (delay or 0) > 15 else "on time" for delay in columns["dep_delay"]]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    before = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"]), (numbers, ["dep_delay", "distance"])
    )
    model = make_pipeline(before, HistGradientBoostingClassifier(max_iter=20, random_state=0)).fit(frame, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow and its dependencies warn of their own affairs
        mlflow.sklearn.save_model(
            model,
            folder,
            input_example=frame.head(3),
            pip_requirements=["scikit-learn"],
            serialization_format="skops",
            skops_trusted_types=sorted(TRUSTED_TYPES),
        )
    return folder


def instances(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The same as rows."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
