"""Compares features with pixels for finding similar images (paper, section 6.1).

    python -m experiments.retrieval RUN LAYER DATASET [DATA_DIR]

Writes two retrieval indexes of the training split: of the features in a layer of a run,
and of the pixels that the network takes. Searches both for the six nearest neighbors of
each image of the validation or test split. Prints the share of nearest neighbors, and
of the six nearest neighbors, that have the same class as the image. The results are in
docs/features.md.
"""

import os
import sys
import tempfile

import numpy as np

from alexnet_tf.data import datasets
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import retrieval


def main(argv):
    run, layer, dataset, *data_dir = argv[1:]
    classifier = load_classifier(run)
    train = datasets.load(dataset, "train", *data_dir)
    test = datasets.load(dataset, None, *data_dir)
    print("layer, metric, share of the same class among the nearest 1 and 6")
    with tempfile.TemporaryDirectory() as folder:
        for name in (layer, "input"):
            path = os.path.join(folder, f"{name}.npz")
            retrieval.build_index(path, classifier, train, name, verbose=0)
            labels, _ = retrieval.read_labels(path)
            queries, query_labels, _ = map(
                np.concatenate,
                zip(*retrieval.features(classifier, test, name, verbose=0)),
            )
            for metric in ("l2", "cosine"):
                matches = retrieval.search(path, queries, 6, metric)
                nearest_1, nearest_6 = (
                    retrieval.precision(matches, labels, query_labels, k)
                    for k in (1, 6)
                )
                print(
                    f"{name:8s} {metric:7s} {nearest_1:.1%} {nearest_6:.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv)
