"""What honest training code does with the libraries, inside the sandbox."""

import importlib
import multiprocessing
import os
import pickle
import threading
import time
import urllib.request
import warnings
from pathlib import Path
from typing import Any


def import_all(channel: Any) -> None:
    for name in channel.argument["modules"]:
        importlib.import_module(name)
        channel.emit({"imported": name})


def fit_and_predict(channel: Any) -> None:
    """The estimators that use worker pools and OpenMP, plus a search whose default workers are programs."""
    import numpy
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    random = numpy.random.default_rng(0)
    features = random.normal(size=(400, 5))
    labels = (features[:, 0] + features[:, 1] > 0).astype(int)
    scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, model in (
            ("boosting", HistGradientBoostingClassifier(max_iter=20)),
            ("forest", RandomForestClassifier(n_estimators=20, n_jobs=2)),
            ("search", GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_jobs=2)),
        ):
            model.fit(features, labels)
            scores[name] = float(model.score(features, labels))
    channel.emit(scores)


def write_and_read_tables(channel: Any) -> None:
    import pandas

    path = Path(os.environ["TMPDIR"], "t.parquet")
    pandas.DataFrame({"a": range(1000), "b": "x"}).to_parquet(path)
    again = pandas.read_parquet(path)
    channel.emit({"rows": len(again), "sum": int(again["a"].sum())})


def save_and_load_model(channel: Any) -> None:
    import mlflow.sklearn
    import numpy
    from sklearn.linear_model import Ridge

    model = Ridge().fit(numpy.eye(3), [1, 2, 3])
    place = Path(os.environ["TMPDIR"], "model")
    mlflow.sklearn.save_model(model, str(place), pip_requirements=["scikit-learn"], serialization_format="cloudpickle")
    loaded = mlflow.sklearn.load_model(str(place))
    channel.emit(
        {"files": sorted(path.name for path in place.iterdir()), "one": float(loaded.predict(numpy.eye(3))[0])}
    )


def run_onnx(channel: Any) -> None:
    import onnxruntime

    channel.emit({"providers": onnxruntime.get_available_providers()})


def draw_random_number(channel: Any) -> None:
    import numpy

    channel.emit({"drawn": float(numpy.random.random())})  # the state that a fork inherits


def use_process_pool(channel: Any) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        channel.emit({"squares": pool.map(abs, [-1, -2, -3])})


def fetch_through_relay(channel: Any) -> None:
    with urllib.request.urlopen(os.environ["PLATFORM_URL"] + channel.argument["path"], timeout=10) as answer:
        body = answer.read()
    channel.emit({"length": len(body), "first": body[:5]})


def fetch_concurrently(channel: Any) -> None:
    lengths: list[int] = []

    def fetch() -> None:
        with urllib.request.urlopen(os.environ["PLATFORM_URL"] + "/big", timeout=30) as answer:
            lengths.append(len(answer.read()))

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel.emit({"lengths": lengths})


def post_through_relay(channel: Any) -> None:
    request = urllib.request.Request(os.environ["PLATFORM_URL"] + "/echo", data=b"x" * 3_000_000, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        channel.emit({"length": len(answer.read())})


def reach_elsewhere(channel: Any) -> None:
    """Every other port of every other address that the machine has."""
    import socket

    failures = {}
    for host, port in channel.argument["addresses"]:
        try:
            socket.create_connection((host, port), timeout=2).close()
            failures[f"{host}:{port}"] = "reached"
        except OSError as error:
            failures[f"{host}:{port}"] = type(error).__name__
    for kind, domain in (("udp", socket.AF_INET), ("unix", socket.AF_UNIX), ("tcp6", socket.AF_INET6)):
        try:
            socket.socket(domain, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM).close()
            failures[kind] = "made"
        except OSError as error:
            failures[kind] = type(error).__name__
    channel.emit(failures)


def log_to_mlflow(channel: Any) -> None:
    """The stock client, as a data scientist writes it."""
    import mlflow

    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment("from-the-sandbox")
    with mlflow.start_run() as run:
        mlflow.log_param("depth", 3)
        mlflow.log_metric("auc", 0.9)
    channel.emit({"run": run.info.run_id})


def pickle_that_bites(channel: Any) -> None:
    """F12: a model file whose loading runs a program."""

    class Poison:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {channel.argument['target']}",)

    pickle.loads(pickle.dumps(Poison()))
    time.sleep(0.1)
