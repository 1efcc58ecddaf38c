"""Compares features with pixels at finding similar images (paper, section 6.1).

    python -m experiments.retrieval RUN LAYER DATASET [DATA_DIR]

Indexes the training split by the features of a run and by its pixels, searches for
the six nearest neighbors of each image of the evaluation split, and prints which
share of the nearest one and of the nearest six belongs to the same class. The results
are in the section "Evaluating" of the README.
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
    print("features, metric: precision of the nearest 1, 6")
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
