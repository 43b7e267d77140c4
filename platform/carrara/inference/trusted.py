"""The types that a skops file may hold beyond those that skops trusts itself. This list is ours alone.

A model's own declaration (`skops_trusted_types` in its MLmodel file) is never read: it comes with the file it vouches
for (GHSA-w582). To be listed, a type must be plain data when it is rebuilt: no code of the file's choosing runs.
"""

TRUSTED_TYPES: frozenset[str] = frozenset(
    {
        "carrara.inference.date_parts.DateParts",
        "functools.partial",  # its function is checked by its own name
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",  # inside HistGradientBoosting with categories
    }
)
