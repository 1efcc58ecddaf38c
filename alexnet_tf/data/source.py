"""One split of a data set as a stream of encoded images and labels."""

import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import decode

# Of no class: fills the last evaluation batch, and stands for a bad picture.
PADDING_LABEL = -1

# For pipelines, which take as many calls at a time as there are threads. To try
# other numbers, as `tf.data` does by itself, halved the views of CIFAR-10 (1,380 a
# second in place of 2,680 on two cores) and gave nothing on photographs; and the
# thread that tries them may sleep on for a minute when an iterator is let go of, see
# `input_pipeline.Iteration`. Nor is a pipeline written anew for each iterator, which
# took a third of its start and gave nothing either.
PIPELINE_OPTIONS = tf.data.Options()
PIPELINE_OPTIONS.autotune.enabled = False
PIPELINE_OPTIONS.autotune.initial_parallelism = 1024  # At most; see above.
PIPELINE_OPTIONS.experimental_optimization.apply_default_optimizations = False
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

# In the order in which they serve as the evaluation split.
_EVALUATION_SPLITS = ("validation", "val", "valid", "test")

# What TFDS raises for splits that it can't make out.
SPLIT_ERRORS = (AssertionError, KeyError, NotImplementedError, ValueError)
_CARVE = 'Carve one: train_split="train[:90%]", eval_split="train[90%:]".'


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set.

    Attributes:
        name, split: as asked for.
        classes: their names, in the order of the labels.
        num_examples: in the split.
        folder: of the data.
        fingerprint: text that changes when the examples do.
        read: shuffle seed or None -> `tf.data.Dataset`, see `examples`.
        fetch: makes the examples of what `read` brings, if that is not they.
        mends: whether bad pictures have been replaced, see `allow_bad_images`.
        prepared: {"image_size", "resize"} of what `preparing` has made, or None.
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

    def __str__(self):
        return f"{self.name}, split {self.split}"

    @property
    def is_imagenet(self):
        """Whether it is ILSVRC-2012, whose statistics are published."""
        return self.name.split(":")[0] == "imagenet2012"

    def has_class(self, label):
        """Whether a label, or an int32 tensor of them, is of one of the classes."""
        return (label >= 0) & (label < len(self.classes))

    def label_of(self, example):
        """int32 []: an example's label, in a pipeline; one of no class fails there."""
        label = example["label"]
        known = self.has_class(label)
        if self.allows_bad_images:
            known |= label == PADDING_LABEL
        check = tf.debugging.Assert(known, [example["name"], label])
        with tf.control_dependencies([check]):
            return tf.identity(label)

    def check_fits(self, preprocessing):
        """Refuses pictures that were prepared for other views than these.

        Args:
            preprocessing: a `presets.Preprocessing`.

        Raises:
            ValueError: if they were cut where they should be squashed, or the other
                way round, or are smaller.
        """
        if self.prepared is None:
            return
        size, resize = (self.prepared[key] for key in ("image_size", "resize"))
        if resize != preprocessing.resize or size < preprocessing.image_size:
            raise ValueError(
                f"Expected pictures of {preprocessing.image_size} pixels by "
                f"resize={preprocessing.resize}, as the preset wants them. Received: "
                f"{self}, which was prepared for {size} by {resize=!s}. Prepare them "
                "with these --image_size and --resize."
            )

    def example_ids(self):
        """{bytes, ...}: of all examples."""
        # Without a look into files.
        examples = dataclasses.replace(self, fetch=None).without_count_check()
        return {*examples.map(lambda each: each["name"]).as_numpy_iterator()}

    def examples(self, shuffle_seed=None):
        """Each example once, as a `tf.data.Dataset` of dictionaries.

        {"image": string [], its encoded bytes; "label": int32 []; "name":
        string [], its path or its place in the data set}.

        Args:
            shuffle_seed: which order; None for the data set's own. Large data
                sets in TFDS's format are shuffled by file only: see
                `input_pipeline.training_batches` for the rest.

        Raises:
            tf.errors.FailedPreconditionError: when read to the end, if they
                are not `num_examples`; `bad_images.diagnose` says it in words.
        """
        return self.without_count_check(shuffle_seed).apply(
            tf.data.experimental.assert_cardinality(self.num_examples)
        )

    def without_count_check(self, shuffle_seed=None):
        """The same, however many they are: each process may get a part."""
        examples = self.read(shuffle_seed).with_options(PIPELINE_OPTIONS)
        if self.fetch is None:
            return examples
        return examples.map(self.fetch, num_parallel_calls=tf.data.AUTOTUNE)

    def mended(self):
        """The same examples with a black picture for each that is bad.

        Bad is what can't be read or decoded, claims more than 134 million pixels,
        or has a label of no class; the black one is labelled `PADDING_LABEL`, and
        counts nothing in training and evaluation. All pictures are decoded once
        more to find them.
        """
        black = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()

        def whole(reference):
            example = self.fetch(reference) if self.fetch else reference
            check = tf.debugging.Assert(
                self.has_class(example["label"]), ["A label of no class."]
            )
            with tf.control_dependencies([check]):
                return example | {"image": decode.readable(example["image"])}

        def replaced(reference):
            instead = {"image": black, "label": PADDING_LABEL, "name": "bad"}
            return (
                tf.data.Dataset.from_tensors(reference)
                .map(whole)
                .ignore_errors()
                .concatenate(tf.data.Dataset.from_tensors(instead))
                .take(1)
            )

        def read(shuffle_seed):
            return self.read(shuffle_seed).interleave(
                replaced,
                cycle_length=16,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )

        return dataclasses.replace(self, read=read, fetch=None, allows_bad_images=True)

    def without_bad(self):
        """The same examples but the bad ones, see `allow_bad_images`: counted here and now.

        Raises:
            ValueError: if none is left.
            OSError: if they can't be read.
        """

        def read(shuffle_seed):
            examples = self.allow_bad_images().read(shuffle_seed)
            return examples.filter(lambda each: each["label"] != PADDING_LABEL)

        rest = dataclasses.replace(self, read=read, fetch=None)
        with bad_images.diagnosing(self, lambda: (0, -1)):
            count = int(rest.without_count_check().reduce(0, lambda count, _: count + 1))
        check_not_empty(self.name, self.split, count)
        return dataclasses.replace(rest, num_examples=count)

    def take_indices(self, indices):
        """[example, ...] at some places of the order, as NumPy values.

        In the order of `places`, which may repeat; the split is read up to the
        last of them.

        Raises:
            ValueError: if one of them is bad.
            OSError: if they can't be read.
        """
        last, wanted = max(places, default=-1), {*places}
        with bad_images.diagnosing(self, lambda: (0, last + 1)):
            found = {
                place: example
                for place, example in enumerate(self.examples().take(last + 1))
                if place in wanted
            }
        bad = bad_images.find_bad_image(self, found.values())
        if bad:
            raise bad
        return [
            {key: value.numpy() for key, value in found[place].items()}
            for place in places
        ]

    def in_memory(self):
        """The same examples, read once and kept as they are encoded.

        Shuffling then takes all of them at once, and not files and a buffer.

        Raises:
            ValueError, OSError: as `bad_images.diagnose` says it, if they can't be read.
        """
        with bad_images.diagnosing(self, lambda: (0, -1)):
            whole = next(iter(self.examples().batch(self.num_examples + 1)))

        def read(shuffle_seed):
            order = np.arange(self.num_examples)
            if shuffle_seed is not None:
                order = np.random.default_rng(shuffle_seed).permutation(order)
            return tf.data.Dataset.from_tensor_slices(order).map(
                lambda place: {
                    key: tf.gather(values, place) for key, values in whole.items()
                }
            )

        return dataclasses.replace(self, read=read, fetch=None)

    def subsample(self, max_examples):
        """At most `most` examples, as a `Source`: one in two, three ..."""
        step = -(-self.num_examples // most)
        if step == 1:
            return self
        return dataclasses.replace(
            self,
            split=f"{self.split}, one in {step}",
            num_examples=-(-self.num_examples // step),
            fingerprint=f"{self.fingerprint} {step}",
            read=lambda shuffle_seed: self.read(shuffle_seed).shard(step, 0),
        )


def evaluation_split(name, splits):
    for split in _EVALUATION_SPLITS:
        if split in splits:
            return split
    raise ValueError(
        "Expected a split to evaluate on, one of "
        f"{', '.join(_EVALUATION_SPLITS)}. Received: {name}, which has only "
        f"{', '.join(splits)}. {_CARVE}"
    )


def unknown_split_error(name, split, splits):
    return ValueError(
        f"Expected one of the splits {', '.join(splits)} of {name}, or a part "
        f'of one such as "{splits[0]}[:90%]". Received: split={split!r}.'
    )


def check_not_empty(name, split, count):
    if count == 0:
        raise ValueError(
            f"Expected pictures ({', '.join(IMAGE_EXTENSIONS)}) in {name}, split "
            f"{split}. Received: none."
        )
