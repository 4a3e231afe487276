"""Intervals, confusions and class scores are those of their definitions, and of other libraries."""

import math

import numpy as np
import pytest
from scipy import stats

from recipe.finished.evaluation.scores import class_scores, confusion_matrix, macro_f1, predicted_classes, wilson


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (396, 1322), (40429, 50000)])
def test_interval_is_wilsons(hits: int, count: int) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_share_of_nothing_has_no_interval() -> None:
    assert all(math.isnan(end) for end in wilson(0, 0))


def test_scores_of_classes_are_their_definitions() -> None:
    """Against counting each class's images one by one."""
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 6, 400), random.integers(0, 7, 400)  # class 6 has no images
    names = [f"c{number}" for number in range(8)]  # and 7 is not even predicted
    scores = class_scores(confusion_matrix(labels, predicted, 8), names)
    for number, score in enumerate(scores[:6]):
        right = int(((labels == number) & (predicted == number)).sum())
        recall, precision = right / (labels == number).sum(), right / (predicted == number).sum()
        assert (score.hits, score.images) == (right, (labels == number).sum())
        assert (score.recall, score.precision) == pytest.approx((recall, precision))
        assert score.f1 == pytest.approx(2 * recall * precision / (recall + precision))
        wrong = [int(((labels == number) & (predicted == other)).sum()) * (other != number) for other in range(8)]
        assert (score.confused_with, score.confused) == (names[int(np.argmax(wrong))], max(wrong))
    assert math.isnan(scores[6].recall)
    assert scores[6].precision == 0
    assert math.isnan(scores[7].precision)
    assert macro_f1(scores) == pytest.approx(np.mean([score.f1 for score in scores[:6]]))


def test_class_without_errors_is_taken_for_no_other() -> None:
    assert class_scores(np.diag([3, 4]), ["a", "b"])[0].confused_with is None


def test_rounded_logits_do_not_change_what_was_correct() -> None:
    """In float16 two classes may share the largest logit: then the kept verdict decides."""
    logits = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [2, 1, 3]], dtype=np.float16)
    labels = np.array([1, 0, 2, 0])
    assert predicted_classes(logits, labels, np.array([True, False, False, False])).tolist() == [1, 1, 1, 2]
    assert logits[0].tolist() == [1, 1, 0]
