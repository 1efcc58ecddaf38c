"""Do features find alike pictures better than pixels do? (paper, section 6.1)

    python -m experiments.retrieval RUN LAYER DATASET [DATA_DIR]

Indexes the training split by the features of a run and by its pixels, asks for
the six nearest of each picture of the evaluation split, and prints how many of
the nearest one and six are of its class. Measured: see README, "Evaluating".
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
    network = load_classifier(run)
    train = datasets.load(dataset, "train", *data_dir)
    test = datasets.load(dataset, None, *data_dir)
    print("features, metric: precision of the nearest 1, 6")
    with tempfile.TemporaryDirectory() as folder:
        for name in (layer, "input"):
            path = os.path.join(folder, f"{name}.npz")
            retrieval.build_index(path, network, train, name, verbose=0)
            labels, _ = retrieval.read_labels(path)
            queries, query_labels, _ = zip(
                *retrieval.features(network, test, name, verbose=0)
            )
            query_labels = np.concatenate(query_labels)
            for metric in ("l2", "cosine"):
                found = retrieval.search(
                    path, np.concatenate(queries), 6, metric
                )
                one, six = (
                    retrieval.precision(found, labels, query_labels, k)
                    for k in (1, 6)
                )
                print(f"{name:8s} {metric:7s} {one:.1%} {six:.1%}", flush=True)


if __name__ == "__main__":
    main(sys.argv)
