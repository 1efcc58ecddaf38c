"""Counts the neurons of preset `paper`, about 650,000 according to the paper.

    python -m experiments.neurons

The caption of Fig. 2 gives the number of outputs of each layer. For conv1 it gives
253,440, which is 55 x 48 x 96, but the outputs of conv1 are 55 x 55 x 96. The numbers
of all other layers agree with those of preset `paper`. The correct total is 659,272;
the abstract says 650,000.
"""

from alexnet_tf.models import alexnet

# The numbers in the caption of Fig. 2.
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
    """Returns [(layer, number in the caption, number in the model), ...].

    The last row has the totals, which do not include the input.
    """
    counted = alexnet.neurons(alexnet.AlexNet("paper"))
    layers = [(name, CAPTION[name], counted[name]) for name in CAPTION]
    totals = (sum(row[column] for row in layers[1:]) for column in (1, 2))
    return [*layers, ("total", *totals)]


def main():
    print(f"{'layer':8}{'Fig. 2':>10}{'counted':>10}")
    for name, caption, counted in rows():
        remark = "" if caption == counted else "  wrong in the caption"
        print(f"{name:8}{caption:10,}{counted:10,}{remark}")


if __name__ == "__main__":
    main()
