"""scikit-learn's loops run on our workers, by way of joblib."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

import workpool.integrations.joblib as integration
from tests.support.joblib_calls import joblib
from workpool import Pool


@pytest.fixture
def data() -> tuple[Any, Any]:
    """Give points of two kinds, and their kinds."""
    random = np.random.default_rng(7)
    points = random.normal(size=(200, 4))
    return points, (points[:, 0] + points[:, 1] > 0).astype(int)


@pytest.fixture(autouse=True)
def no_pools_are_kept() -> Generator[None]:
    """End the pools that are kept for the next loop."""
    yield
    integration.close()


def test_a_search_finds_the_same(data: tuple[Any, Any]) -> None:
    """GridSearchCV finds on our processes what it finds without them."""
    search: Any = pytest.importorskip("sklearn.model_selection")
    linear: Any = pytest.importorskip("sklearn.linear_model")

    def best(n_jobs: int | None) -> tuple[Any, Any]:
        grid = search.GridSearchCV(
            linear.LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, cv=3, n_jobs=n_jobs
        )
        grid.fit(*data)
        return grid.best_params_, grid.cv_results_["mean_test_score"].tolist()

    alone = best(None)
    with joblib.parallel_config("workpool", n_jobs=2):
        assert best(-1) == alone
    assert sum(kept.pool.stats().done for kept in integration._kept.values()) > 0


def test_a_forest_grows_in_threads(data: tuple[Any, Any]) -> None:
    """A forest asks for shared memory to predict, which a pool of threads has."""
    ensemble: Any = pytest.importorskip("sklearn.ensemble")
    alone = ensemble.RandomForestClassifier(20, random_state=1).fit(*data).predict(data[0])
    with Pool(2) as pool, joblib.parallel_config("workpool", pool=pool, n_jobs=2):
        forest = ensemble.RandomForestClassifier(20, random_state=1).fit(*data)
        assert (forest.predict(data[0]) == alone).all()
        assert pool.stats().done > 0
