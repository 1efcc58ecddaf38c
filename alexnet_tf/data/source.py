"""One split of a data set as a stream of encoded images and labels."""

import dataclasses
import logging
import os
from typing import Callable

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import decode
from alexnet_tf.data.folder_contents import log_once
from alexnet_tf.data.splits import check_not_empty

# Label of padding and of unreadable images, which the loss and the metrics ignore.
PADDING_LABEL = -1

# Pipelines run as many parallel calls as there are threads. The autotuning of that
# number by `tf.data` halved the throughput on CIFAR-10 (1,380 crops a second instead of
# 2,680 on two cores) and did not help on photographs. Its thread may also sleep for up
# to a minute when an iterator is released, see `input_pipeline.ReleasableIterator`.
# Graph optimizations are disabled because they took a third of a pipeline's start-up
# time, for each iterator, and did not help.
PIPELINE_OPTIONS = tf.data.Options()
PIPELINE_OPTIONS.autotune.enabled = False
# `tf.data` limits this value to the number of threads, so any large number works.
PIPELINE_OPTIONS.autotune.initial_parallelism = 1024
PIPELINE_OPTIONS.experimental_optimization.apply_default_optimizations = False

# A data set without class names may have as many classes as images, or this number of
# classes if it has fewer images.
MAX_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class ReadFrom:
    """A `Source.read` that can begin in the middle of the data.

    Attributes:
        read_from: a function that takes a shuffle seed and a position, and returns
            (dataset, num_skipped): the dataset without its first `num_skipped`
            elements, at most as many as the position.
    """

    read_from: Callable[[int | None, int], tuple[tf.data.Dataset, int]]

    def __call__(self, shuffle_seed):
        elements, _ = self.read_from(shuffle_seed, 0)
        return elements


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set.

    Attributes:
        name: the name of the data set, as for `datasets.load`.
        split: the split in TFDS's notation.
        classes: the class names, in the order of the labels.
        num_examples: the number of examples in the split.
        folder: the directory that holds the data.
        fingerprint: a string that changes when the examples change.
        read: a function that takes a shuffle seed or None, as `examples` does, and
            returns a `tf.data.Dataset` of examples. Its elements may lack the image
            if `fetch` adds it. A `ReadFrom` can begin in the middle of the data.
        fetch: a function that turns an element of `read` into an example, for
            instance by reading the image file; None if the elements are examples.
        allows_bad_images: whether black images replace the unreadable ones, see
            `allow_bad_images`.
        prepared: a dictionary with the settings "image_size" and "resize" of a data
            set written by `resized_copy.prepare`; None for other data sets.
        in_process: whether Python code of this process reads the data, in which case
            the workers of a data service cannot read it.
        num_bad_images: the number of unreadable images that `without_bad_images` has
            left out.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    num_examples: int
    folder: str
    fingerprint: str
    read: Callable[[int | None], tf.data.Dataset]
    fetch: Callable | None = None
    allows_bad_images: bool = False
    prepared: dict | None = None
    in_process: bool = False
    num_bad_images: int = 0

    def __str__(self):
        return f"{self.name}, split {self.split}"

    @property
    def is_imagenet(self):
        """Whether the data set is ILSVRC-2012, whose pixel statistics are published."""
        return self.name.split(":")[0] == "imagenet2012"

    @property
    def read_from(self):
        """The function of `ReadFrom`; None if the data is read from its start."""
        return self.read.read_from if isinstance(self.read, ReadFrom) else None

    def has_class(self, label):
        """Returns whether a label is that of a class, elementwise for a tensor."""
        return (label >= 0) & (label < len(self.classes))

    def accepts_label(self, label):
        """Returns whether a label is valid, elementwise for a tensor.

        `PADDING_LABEL` is valid only if the source `allows_bad_images`.
        """
        valid = self.has_class(label)
        if self.allows_bad_images:
            valid |= label == PADDING_LABEL
        return valid

    def label_of(self, example):
        """Returns the label of an example in a pipeline, int32 [].

        Raises:
            tf.errors.InvalidArgumentError: when the pipeline runs, if the label is
                invalid.
        """
        label = example["label"]
        check = tf.debugging.Assert(
            self.accepts_label(label), [example["name"], label]
        )
        with tf.control_dependencies([check]):
            return tf.identity(label)

    def check_fits(self, preprocessing):
        """Checks that images resized in advance suit a preprocessing.

        Images that were not resized in advance suit every preprocessing.

        Args:
            preprocessing: a `presets.Preprocessing`.

        Raises:
            ValueError: if the images were resized by another method, or are smaller
                than the preprocessing requires.
        """
        if self.prepared is None:
            return
        size, resize = (self.prepared[key] for key in ("image_size", "resize"))
        if resize != preprocessing.resize or size < preprocessing.image_size:
            raise ValueError(
                f"Expected images of {preprocessing.image_size} pixels with "
                f"resize={preprocessing.resize}, as the preset requires. Received: "
                f"{self}, which was prepared for {size} pixels with {resize=!s}. "
                f"Prepare it with --image_size={preprocessing.image_size} "
                f"--resize={preprocessing.resize}."
            )

    def check_labeled(self):
        """Checks that the first example has a label.

        Raises:
            ValueError: if its label is -1, with which TFDS marks unlabeled images.
            OSError: if the data set can't be read.
        """
        with bad_images.diagnosing(self, lambda: (0, 1)):
            example = next(iter(self.without_count_check().take(1)))
        if example["label"] == PADDING_LABEL:
            raise ValueError(
                f"Expected a split with labels to evaluate on. Received: {self}, whose "
                "labels are -1. Choose another one, such as a part of the training "
                'images: --train_split="train[:90%]" --eval_split="train[90%:]" for '
                'training, --split="train[90%:]" for other commands.'
            )

    def example_ids(self):
        """Returns the names of all examples as a set of bytes.

        Image files are not read.
        """
        names = self.elements().map(lambda element: element["name"])
        return {*names.as_numpy_iterator()}

    def elements(self):
        """Returns a `tf.data.Dataset` of the elements of `read`.

        They are examples, but those of image files lack the image: the files are not
        read. The number of elements is not checked.
        """
        return dataclasses.replace(self, fetch=None).without_count_check()

    def example_of(self, element):
        """Returns the example of an element of `read`."""
        return self.fetch(element) if self.fetch else element

    def examples(self, shuffle_seed=None, num_unused=0):
        """Returns a `tf.data.Dataset` that yields each example once.

        An example is a dictionary with the keys "image" (string [], the encoded
        bytes), "label" (int32 []) and "name" (string [], the path of the image, or
        its file and position in TFDS's format).

        Args:
            shuffle_seed: the random seed of the order; None keeps the order of the
                data set. In TFDS's format, only the order of the files is shuffled:
                `input_pipeline.training_batches` adds a shuffle buffer.
            num_unused: the number of examples at the beginning that are not used.
                Empty examples may replace them, so that files need not be read.

        Raises:
            tf.errors.FailedPreconditionError: when the dataset has been read to the
                end, if it does not have `num_examples` examples. For this error,
                `bad_images.diagnose` returns one in plain words.
        """
        return self.without_count_check(shuffle_seed, num_unused).apply(
            tf.data.experimental.assert_cardinality(self.num_examples)
        )

    def without_count_check(self, shuffle_seed=None, num_unused=0):
        """Returns the dataset of `examples` without the check of their number.

        The check would fail where only a part of the split is read, for instance by
        each worker of a data service.

        Args:
            shuffle_seed, num_unused: as in `examples`.
        """
        num_skipped = 0
        if num_unused and self.read_from:
            examples, num_skipped = self.read_from(shuffle_seed, num_unused)
        else:
            examples = self.read(shuffle_seed)
        examples = examples.with_options(PIPELINE_OPTIONS)
        if self.fetch is not None:
            examples = examples.map(self.fetch, num_parallel_calls=tf.data.AUTOTUNE)
        return _empty_examples(num_skipped, examples) if num_skipped else examples

    def allow_bad_images(self, log_names=False):
        """Returns a `Source` in which a black image replaces each unreadable one.

        An image is unreadable if it can't be read or decoded, has more than 134
        million pixels according to its header, or has a label that is not that of a
        class. The black image has the name "bad" and the label `PADDING_LABEL`, which
        training and evaluation ignore. To find the unreadable images, the pipeline
        decodes each image one more time.

        Args:
            log_names: whether to log the name of each unreadable image when it is read
                for the first time. A data service cannot run such a pipeline.
        """
        black_pixel = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()
        black_image = {"image": black_pixel, "label": PADDING_LABEL, "name": "bad"}

        def log_and_replace(name):
            if log_names:
                tf.numpy_function(_log_bad_image, [name], [])
            return black_image

        def readable_or_black(element):
            name = tf.data.Dataset.from_tensors(element["name"])
            return (
                tf.data.Dataset.from_tensors(element)
                .map(self._checked_example)
                .ignore_errors()
                .concatenate(name.map(log_and_replace))
                .take(1)
            )

        def replace_unreadable(elements):
            return elements.interleave(
                readable_or_black,
                cycle_length=16,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )

        def read(shuffle_seed):
            return replace_unreadable(self.read(shuffle_seed))

        def read_from(shuffle_seed, position):
            elements, num_skipped = self.read_from(shuffle_seed, position)
            return replace_unreadable(elements), num_skipped

        return dataclasses.replace(
            self,
            read=ReadFrom(read_from) if self.read_from else read,
            fetch=None,
            allows_bad_images=True,
        )

    def _checked_example(self, element):
        """Returns the example of an element of `read`.

        Raises:
            tf.errors.OpError: if the image is unreadable, see `allow_bad_images`.
        """
        example = self.example_of(element)
        check = tf.debugging.Assert(
            self.has_class(example["label"]), ["The label is not that of a class."]
        )
        with tf.control_dependencies([check]):
            return example | {"image": decode.ensure_readable(example["image"])}

    def without_bad_images(self):
        """Returns a `Source` without the unreadable images.

        `allow_bad_images` explains which images are unreadable. This method reads and
        decodes all images to count the readable ones, and logs the names of the others.

        Raises:
            ValueError: if no image is readable.
            OSError: if the data set can't be read.
        """

        def read(shuffle_seed):
            examples = self.allow_bad_images(log_names=True).read(shuffle_seed)
            return examples.filter(lambda example: example["label"] != PADDING_LABEL)

        readable = dataclasses.replace(self, read=read, fetch=None)
        with bad_images.diagnosing(self, lambda: (0, -1)):
            examples = readable.without_count_check()
            count = int(examples.reduce(0, lambda count, _: count + 1))
        check_not_empty(self.name, self.split, count, sizes={})
        return dataclasses.replace(
            readable, num_examples=count, num_bad_images=self.num_examples - count
        )

    def take_indices(self, indices):
        """Returns the examples at some positions of the unshuffled split.

        The split is read up to the last of these positions.

        Args:
            indices: positions from 0 to num_examples - 1, in any order. They may
                repeat.

        Returns:
            A list with one example for each index. An example is a dictionary as in
            `examples`, but with NumPy values.

        Raises:
            ValueError: if one of the images is unreadable.
            OSError: if the data set can't be read.
        """
        count, unique_indices = max(indices, default=-1) + 1, {*indices}
        with bad_images.diagnosing(self, lambda: (0, count)):
            examples = {
                index: example
                for index, example in enumerate(self.examples().take(count))
                if index in unique_indices
            }
        error = bad_images.find_bad_image(self, examples.values())
        if error:
            raise error
        return [
            {key: value.numpy() for key, value in examples[index].items()}
            for index in indices
        ]

    def in_memory(self):
        """Returns a `Source` whose encoded examples are kept in memory.

        This method reads each example once. Shuffling then permutes all examples, not
        only the files and the contents of a shuffle buffer.

        Raises:
            ValueError: if the source does not have `num_examples` examples.
            OSError: if the data set can't be read.
        """
        with bad_images.diagnosing(self, lambda: (0, -1)):
            # The batch size exceeds the number of examples, so the split is read to its
            # end, where that number is checked.
            examples = next(iter(self.examples().batch(self.num_examples + 1)))

        def read(shuffle_seed):
            order = np.arange(self.num_examples)
            if shuffle_seed is not None:
                order = np.random.default_rng(shuffle_seed).permutation(order)
            return tf.data.Dataset.from_tensor_slices(order).map(
                lambda index: {
                    key: tf.gather(values, index) for key, values in examples.items()
                }
            )

        return dataclasses.replace(self, read=read, fetch=None)

    def subsample(self, max_examples):
        """Returns a `Source` of every n-th example, at most `max_examples` of them.

        n is the smallest step that selects no more than `max_examples` examples.

        Args:
            max_examples: the maximum number of examples.
        """
        step = -(-self.num_examples // max_examples)
        if step == 1:
            return self
        return dataclasses.replace(
            self,
            split=f"{self.split}, one in {step}",
            num_examples=-(-self.num_examples // step),
            fingerprint=f"{self.fingerprint} {step}",
            read=lambda shuffle_seed: self.read(shuffle_seed).shard(step, 0),
        )


def _empty_examples(count, examples):
    """Returns `count` empty examples followed by those of a `tf.data.Dataset`."""
    empty = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), examples.element_spec
    )
    return tf.data.Dataset.from_tensors(empty).repeat(count).concatenate(examples)


def read_files(names, labels, shuffle_seed, position=0):
    """Returns the elements of a source of image files, for `Source.read`.

    Args:
        names: an array of file names, bytes [N].
        labels: int32 [N].
        shuffle_seed: as for `Source.read`.
        position: the number of elements to leave out at the beginning.
    """
    order = np.arange(len(names))
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(order)
    order = order[position:]
    return tf.data.Dataset.from_tensor_slices(
        {"name": names[order], "label": labels[order]}
    )


def fetch_file(element):
    """Returns the example of an element of `read_files`, with its encoded image."""
    return element | {"image": tf.io.read_file(element["name"])}


def _log_bad_image(name):
    log_once(logging.WARNING, f"Unreadable image left out: {os.fsdecode(name)}.")


def label_limit(num_examples):
    """Returns the upper bound of the labels of a data set without class names.

    All labels must be less than this bound. A small part of ImageNet may contain any
    label of its 1,000 classes. More classes than that can be trained only if each of
    them has an image.
    """
    return max(MAX_CLASSES, num_examples)


def example_name(path):
    """Returns the name of the example in an image file as bytes.

    The name is the path, with forward slashes on Windows too, so that it is the same on
    all systems. File names need not be UTF-8.
    """
    return os.fsencode(path.replace(os.sep, "/"))
