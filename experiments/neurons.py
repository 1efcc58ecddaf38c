"""The paper's 650,000 neurons, counted.

    python -m experiments.neurons

Fig. 2's caption counts the outputs of each layer of `paper` and gives conv1
253,440, which is 55 x 48 x 96; its map is 55 x 55 x 96. The other figures of
the caption are right; the total is 659,272, which the abstract rounds to
650,000.
"""

import os

from alexnet_tf.models import alexnet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


# Fig. 2's caption, and the input of the text.
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
    """[(layer, caption's figure, counted)] and their totals, input left out."""
    counted = alexnet.neurons(alexnet.AlexNet("paper"))
    lines = [(name, CAPTION[name], counted[name]) for name in CAPTION]
    totals = (sum(line[column] for line in lines[1:]) for column in (1, 2))
    return [*lines, ("total", *totals)]


def main():
    print(f"{'layer':8}{'Fig. 2':>10}{'counted':>10}")
    for name, caption, counted in rows():
        verdict = "" if caption == counted else "  wrong in the caption"
        print(f"{name:8}{caption:10,}{counted:10,}{verdict}")


if __name__ == "__main__":
    main()
