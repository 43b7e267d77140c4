"""The user's own trainer: an ordinary scikit-learn Pipeline, with a metric logged after each stage.

Carrara calls `train(context)` in a confined process; `context` has the training rows only, never the holdout.
"""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder


def train(context):
    """Gradient boosting, grown stage by stage so that its progress can be seen."""
    stages = int(context.params.get("stages", 5))
    trees = int(context.params.get("trees", 300))
    texts = [c.name for c in context.contract.inputs if c.type == "text"]
    numbers = [c.name for c in context.contract.inputs if c.type in ("integer", "number")]
    encode = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=250
    )
    columns = ColumnTransformer([("texts", encode, texts), ("numbers", "passthrough", numbers)])
    boosting = HistGradientBoostingClassifier(
        learning_rate=float(context.params.get("learning_rate", 0.06)),
        max_leaf_nodes=int(context.params.get("max_leaf_nodes", 31)),
        l2_regularization=1.0,
        categorical_features=list(range(len(texts))),
        warm_start=True,
        random_state=context.seed,
    )
    encoded = columns.fit_transform(context.features)
    for stage in range(1, stages + 1):
        boosting.set_params(max_iter=trees * stage // stages)
        boosting.fit(encoded, context.target)
        context.log_metric("train_log_loss", log_loss(context.target, boosting.predict_proba(encoded)), step=stage)
        context.progress(stage / stages, f"{boosting.n_iter_} trees")
    context.log_param("texts", ", ".join(texts))
    return Pipeline([("columns", columns), ("model", boosting)])
