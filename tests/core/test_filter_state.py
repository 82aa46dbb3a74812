"""The self-supervised filter: when it has collapsed, and what does not count as a collapse."""

import numpy as np
import pytest

from stepcredit.core.filter_state import FilterCollapse, filter_state


def test_a_collapsed_filter_is_detected_and_explained():
    right = np.repeat([1.0, 0.0], 50)
    healthy = filter_state(np.where(right == 1, 0.7, 0.3), right)
    assert not healthy.collapsed and healthy.share_positive == 0.5
    healthy.check()
    stuck = filter_state(np.full(100, 0.2), right)
    assert (stuck.kept_share_right, stuck.kept_share_wrong) == (0.0, 1.0)
    with pytest.raises(FilterCollapse, match="steps of right attempts no longer receive a gradient"):
        stuck.check()
    assert filter_state(np.full(100, 0.5), right).collapsed  # exactly one half agrees with neither


def test_a_collapse_needs_both_classes_and_unscored_steps_do_not_count():
    one_sided = filter_state(np.full(100, 0.2), np.zeros(100))
    assert not one_sided.collapsed and np.isnan(one_sided.kept_share_right) and "Undecided" in one_sided.lines()[1]
    partial = filter_state(np.array([0.9, np.nan, 0.1]), np.array([1.0, 1.0, np.nan]))
    assert (partial.num_right, partial.num_wrong) == (1, 0)
