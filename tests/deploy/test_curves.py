"""Training curves can be read, however few epochs there are and however good they were."""

import pytest

pytest.importorskip("matplotlib")

from lenet_deploy.training import curves


def record(epoch, loss, accuracy, **more):
    return {"epoch": epoch, "loss": loss, "accuracy": accuracy, "seconds": 1.0, **more}


ONE = [record(1, 0.412, 0.87)]
THREE = [record(n + 1, 0.6 / (n + 1) ** 2, 1 - 0.19 / (n + 1) ** 2) for n in range(3)]
PERFECT = [record(1, 0.1, 1.0, validation_accuracy=1.0)]
HELD_OUT = [{**r, "validation_accuracy": 0.99} for r in THREE]
THIRTY = [record(n + 1, 0.5 / (n + 1), 1 - 0.15 / (n + 1)) for n in range(30)]


def drawn(history, distorted=True, test=None):
    figure = curves.curves_figure(history, distorted=distorted, test_accuracy=test)
    figure.canvas.draw()
    return figure


def ticks(axis):
    """Labels of the ticks that show."""
    low, high = sorted(axis.get_view_interval())
    pairs = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [label.get_text() for place, label in pairs if low <= place <= high]


@pytest.mark.parametrize("history", [ONE, THREE, PERFECT, HELD_OUT, THIRTY])
def test_all_points_lie_inside_axes_with_plain_ticks(history):
    figure = drawn(history, test=0.9956)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y < high for y in line.get_ydata())
        epochs = ticks(axes.xaxis)
        assert all(label.isdecimal() and 1 <= int(label) <= len(history) for label in epochs)
        assert len(epochs) >= min(2, len(history))
        values = ticks(axes.yaxis)
        assert len(values) >= 2
        assert all(float(label) >= 0 for label in values)  # none is like 6 x 10^-1
        assert not [text for text in axes.yaxis.get_ticklabels(minor=True) if text.get_text()]


def test_one_epoch_starts_at_zero_and_fits_its_point():
    loss, error = drawn(ONE).axes
    assert loss.get_ylim() == pytest.approx((0, 1.15 * 0.412))
    assert error.get_ylim() == pytest.approx((0, 1.15 * 13))


def test_the_axis_of_errors_fits_its_points():
    """The lowest point stands near the bottom, so that no half of the plot is empty."""
    error = drawn(THIRTY).axes[1]
    assert error.get_ylim() == pytest.approx((0.5 / 1.3, 15 * 1.3))


def test_the_test_digits_are_drawn_where_they_are_known():
    with_test, without = (drawn(HELD_OUT, test=test).axes[1] for test in (0.9956, None))
    names = [text.get_text() for text in with_test.get_legend().get_texts()]
    assert names[1:] == ["held-out digits: 1.00% at the end", "test digits: 0.44% at the end"]
    assert with_test.lines[-1].get_xydata().tolist() == [pytest.approx([3, 0.44])]
    assert len(without.lines) == 2


def test_distorted_training_digits_are_said():
    assert "distorted a little" in drawn(ONE).get_supxlabel()
    assert "distorted" not in drawn(ONE, distorted=False).get_supxlabel()
