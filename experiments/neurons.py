"""Counts the paper's 650,000 neurons.

    python -m experiments.neurons

The caption of Fig. 2 gives the number of outputs of each layer of `paper`. For conv1
it gives 253,440, which is 55 x 48 x 96, but the map is 55 x 55 x 96. All other numbers
of the caption are correct. The true total is 659,272, which the abstract rounds to
650,000.
"""

import os

from alexnet_tf.models import alexnet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


# From the caption of Fig. 2; the input is from the text.
CAPTION = {
    "input": 150_528,
    "conv1": 253_440,
    "conv2": 186_624,
    "conv3": 64_896,
    "conv4": 64_896,
    "conv5": 43_264,
    "fc6": 4_096,
    "fc7": 4_096,
    "fc8": 1_000,
}


def rows():
    """Returns [(layer, the caption's number, counted), ...] and their totals.

    The totals do not include the input.
    """
    counted = alexnet.neurons(alexnet.AlexNet("paper"))
    lines = [(name, CAPTION[name], counted[name]) for name in CAPTION]
    totals = (sum(line[column] for line in lines[1:]) for column in (1, 2))
    return [*lines, ("total", *totals)]


def main():
    print(f"{'layer':8}{'Fig. 2':>10}{'counted':>10}")
    for name, caption, counted in rows():
        remark = "" if caption == counted else "  wrong in the caption"
        print(f"{name:8}{caption:10,}{counted:10,}{remark}")


if __name__ == "__main__":
    main()
