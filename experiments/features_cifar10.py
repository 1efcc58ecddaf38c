"""Measures a linear classifier on features of CIFAR-10, the outputs of a layer.

    pip install scikit-learn
    python -m experiments.features_cifar10 --data_dir=~/tensorflow_datasets

Extracts the features of the first 10,000 training images and of the test images from
their center crops, and fits scikit-learn's logistic regression to them. Each feature is
scaled to mean 0 and variance 1 on the training images. The regularization C is the one
of 0.0001, 0.001 and 0.01 with the lowest error on the last fifth of the training
images, when the classifier is fitted to the others. It is then fitted to all of them.
Prints the error on the test images, on which no choice depends.

Measured on the 5,000 of the 10,000 test images that were available, with the weights
inside the package (TensorFlow 2.21.0, scikit-learn 1.9.1):

| flags | features | C | test error |
|---|---|---|---|
| none: `cifar10_full`, pool3 | 1,024 | 0.01 | 23.7% |
| `--layer=input`: the pixels | 3,072 | 0.0001 | 62.4% |
| `--weights=tiny_textures --layer=conv2 --pool=mean` | 32 | 0.01 | 60.8% |
| `--weights=tiny_textures --layer=fc6` | 128 | 0.01 | 68.9% |

The error of `cifar10_full` itself, which was trained on all 50,000 training images, is
21.0%. The images on which C is chosen are among them and not new to this network. The
network `tiny_textures` has seen no photographs, only gratings and spots. Each row takes
20 to 150 seconds of CPU time.
"""

import importlib.util

from alexnet_tf import cli
from alexnet_tf import inference

FLAGS = [
    cli.path_flag("weights", "cifar10_full", cli.WEIGHTS_HELP),
    cli.string_flag(
        "layer", None, "Layer, see alexnet_tf.extract. Default: the penultimate layer."
    ),
    cli.enum_flag("pool", None, ["mean"], "See alexnet_tf.extract."),
    cli.integer_flag(
        "num_train", 10_000, "Number of training images.", lower_bound=10
    ),
    cli.data_dir_flag(),
]
_REGULARIZATIONS = (0.0001, 0.001, 0.01)


def load(split, args):
    """Returns the features of a split of CIFAR-10, [N, features], and its labels."""
    result = inference.extract_features(
        args.weights,
        layers=args.layer,
        dataset="cifar10",
        split=split,
        data_dir=args.data_dir,
        pool=args.pool,
        on_bad_image="error",
        verbose=cli.progress(),
    )
    (features,) = result.features.values()
    return features.reshape(len(features), -1), result.labels


def fit(features, labels, regularization):
    """Returns scikit-learn's logistic regression on scaled features.

    Args:
        features: float32 [N, features].
        labels: int32 [N].
        regularization: the parameter C of scikit-learn.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=regularization, max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)


def choose_regularization(features, labels):
    """Returns the best of `_REGULARIZATIONS` on the last fifth of the images."""
    count = len(labels) * 4 // 5

    def held_out_accuracy(regularization):
        classifier = fit(features[:count], labels[:count], regularization)
        return classifier.score(features[count:], labels[count:])

    return max(_REGULARIZATIONS, key=held_out_accuracy)


def measure(args):
    """Prints the test error of logistic regression on the features."""
    if importlib.util.find_spec("sklearn") is None:
        raise ModuleNotFoundError(
            "This experiment needs scikit-learn, which is not installed. Install it "
            "with pip install scikit-learn."
        )
    features, labels = load(f"train[:{args.num_train}]", args)
    test_features, test_labels = load("test", args)
    regularization = choose_regularization(features, labels)
    classifier = fit(features, labels, regularization)
    error = 1 - classifier.score(test_features, test_labels)
    print(
        f"{error:.1%} test error: {len(labels):,} training images, "
        f"{len(test_labels):,} test images, {features.shape[1]:,} features, "
        f"C={regularization}"
    )


def main(argv=None):
    cli.run("experiments.features_cifar10", measure, FLAGS, argv)


if __name__ == "__main__":
    main()
