"""A name becomes a stream of encoded pictures and labels.

Names: any image classification data set of TFDS ("imagenet2012",
"cifar10:3.0.2"), "textures" (embedded), "folder:PATH" of class folders, and
"list:FILE" of `path label` lines. Splits are selected as in TFDS:
"train[:90%]".
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
from typing import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf import preprocess

_log = logging.getLogger(__name__)

# Of no class: fills the last evaluation batch, and stands for a bad picture.
PADDING_LABEL = -1

# The settings of a data set that `preparing` has made, beside its records.
PREPARED = "prepare.json"

# For pipelines, which take as many calls at a time as there are threads. To try
# other numbers, as `tf.data` does by itself, halved the views of CIFAR-10 (1,380 a
# second in place of 2,680 on two cores) and gave nothing on photographs; and the
# thread that tries them may sleep on for a minute when an iterator is let go of, see
# `input_pipeline.Iteration`. Nor is a pipeline written anew for each iterator, which
# took a third of its start and gave nothing either.
AS_WRITTEN = tf.data.Options()
AS_WRITTEN.autotune.enabled = False
AS_WRITTEN.autotune.initial_parallelism = 1024  # At most; see above.
AS_WRITTEN.experimental_optimization.apply_default_optimizations = False

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
# In the order in which they serve as the evaluation split.
_EVALUATION_SPLITS = ("validation", "val", "valid", "test")
_UNREADABLE = (
    tf.errors.NotFoundError,
    tf.errors.DataLossError,
    tf.errors.PermissionDeniedError,
)
# What TFDS raises for splits that it can't make out.
_NO_SPLIT = (AssertionError, KeyError, NotImplementedError, ValueError)
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
        mends: whether bad pictures have been replaced, see `mended`.
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
    mends: bool = False
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
        if self.mends:
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

    def names(self):
        """{bytes, ...}: of all examples."""
        # Without a look into files.
        examples = dataclasses.replace(self, fetch=None).uncounted()
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
                are not `num_examples`; `explain` says it in words.
        """
        return self.uncounted(shuffle_seed).apply(
            tf.data.experimental.assert_cardinality(self.num_examples)
        )

    def uncounted(self, shuffle_seed=None):
        """The same, however many they are: each process may get a part."""
        examples = self.read(shuffle_seed).with_options(AS_WRITTEN)
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
                return example | {"image": preprocess.readable(example["image"])}

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

        return dataclasses.replace(self, read=read, fetch=None, mends=True)

    def without_bad(self):
        """The same examples but the bad ones, see `mended`: counted here and now.

        Raises:
            ValueError: if none is left.
            OSError: if they can't be read.
        """

        def read(shuffle_seed):
            examples = self.mended().read(shuffle_seed)
            return examples.filter(lambda each: each["label"] != PADDING_LABEL)

        rest = dataclasses.replace(self, read=read, fetch=None)
        with explained(self, lambda: (0, -1)):
            count = int(rest.uncounted().reduce(0, lambda count, _: count + 1))
        _check_not_empty(self.name, self.split, count)
        return dataclasses.replace(rest, num_examples=count)

    def at(self, places):
        """[example, ...] at some places of the order, as NumPy values.

        In the order of `places`, which may repeat; the split is read up to the
        last of them.

        Raises:
            ValueError: if one of them is bad.
            OSError: if they can't be read.
        """
        last, wanted = max(places, default=-1), {*places}
        with explained(self, lambda: (0, last + 1)):
            found = {
                place: example
                for place, example in enumerate(self.examples().take(last + 1))
                if place in wanted
            }
        bad = _bad_picture(self, found.values())
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
            ValueError, OSError: as `explain` says it, if they can't be read.
        """
        with explained(self, lambda: (0, -1)):
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

    def spread(self, most):
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


def load(name, split, data_dir=None):
    """The `Source` of one split of a data set.

    Args:
        name: see the module.
        split: of TFDS's form, "train" or "train[:90%]"; None for the one to
            evaluate on: validation if there is one, else test.
        data_dir: of TFDS, "~/tensorflow_datasets" by default.

    Raises:
        ValueError: if the name, the split or the examples are not as they
            should be.
        OSError: if the data is not there and can't be had.
    """
    kind, _, path = name.partition(":")
    if kind == "folder":
        return _load_files(name, split, *_scan_folder(path))
    if kind == "list":
        return _load_files(name, split, *_read_lists(path))
    # Shells leave the ~ of --data_dir=~/tensorflow_datasets as it is.
    return _load_tfds(name, split, data_dir and os.path.expanduser(data_dir))


def split_names(name, data_dir=None):
    """The names of all splits of a data set. Arguments and errors of `load`."""
    kind, _, path = name.partition(":")
    if kind == "folder":
        return list(_scan_folder(path)[0])
    if kind == "list":
        return list(_read_lists(path)[0])
    builder = _builder(name, data_dir and os.path.expanduser(data_dir))
    _prepare(builder)
    return list(builder.info.splits)


def explain(error, source, examples):
    """The error to raise for `error`: one that says what is wrong in the data.

    Itself if nothing is. TensorFlow does not say which picture it could not
    decode, so they are read once more, one at a time, up to the first that
    fails.

    Args:
        error: a `tf.errors.OpError` out of a pipeline.
        source: the `datasets.Source` that the pipeline read.
        examples: those that were asked for, in the pipeline's order. Errors
            come in that order too, however far it reads ahead.
    """
    # With several devices, one may fail and only another be heard of, which
    # misses a picture; so these are read again too.
    looked = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)
    if isinstance(error, looked):
        _log.error("Looking for a picture that can't be read in %s.", source)
        try:
            bad = _bad_picture(source, examples)
        except _UNREADABLE as cause:
            error = cause
        except tf.errors.FailedPreconditionError:
            pass  # The miscount itself.
        else:
            if bad:
                return bad
    if isinstance(error, _UNREADABLE):
        return OSError(
            f"Expected to read all of {source}. Received: {gist(error)}. Put "
            "back what is missing, or prepare the data set again."
        )
    count = re.search(r"contained (.+) element", error.message)
    if isinstance(error, tf.errors.FailedPreconditionError) and count:
        return ValueError(
            f"Expected {source.num_examples} pictures in {source}. Received: "
            f"{count[1]}. Prepare the data set again."
        )
    return error


@contextlib.contextmanager
def explained(source, where):
    """Errors of a pipeline inside say what is wrong in the data: `explain`.

    Args:
        source: the `Source` that the pipeline reads, unshuffled.
        where: () -> (first, count) of the pictures that were asked for; a
            count of -1 stands for all that follow.
    """
    try:
        yield
    except tf.errors.OpError as error:
        first, count = where()
        asked = source.examples().skip(first).take(count)
        raise explain(error, source, asked) from error


def gist(error):
    """What a `tf.errors.OpError` says, in one line, without names of nodes."""
    # What comes before says where in the code, what is indented in which node;
    # several devices fail as "  (0) NOT_FOUND:  ...", with totals at the end.
    lines = re.findall(
        r"^(?:  \(\d+\) [A-Z_]+: +)?(?!\d+ (?:root|successful|derived) )(\S.*)",
        error.message,
        re.MULTILINE,
    )
    # Where one device meets the fault, another only misses the picture.
    causes = [line for line in lines if "was expected to contain" not in line]
    *_, line = causes or lines or [type(error).__name__]
    return re.sub(r"\{\{.*?\}\} ?|.*Iterator::\S+ | *\[Op:.*", "", line).strip()


def _bad_picture(source, examples):
    """The error that names the first bad picture, None if there is none."""
    for example in examples:
        reason = _fault(example, source)
        if reason:
            return ValueError(
                "Expected a JPEG, PNG, BMP or GIF picture and a label from 0 "
                f"to {len(source.classes) - 1}. Received: "
                f"{os.fsdecode(example['name'].numpy())} of {source} "
                f"({len(example['image'].numpy())} bytes): {reason}. Mend it "
                "or take it out of the data set."
            )
    return None


def _fault(example, source):
    """What is wrong with an example, "" for nothing."""
    label = int(example["label"])
    if not source.has_class(label):
        return f"its label is {label}"
    try:
        preprocess.image_shape(example["image"])
        tf.io.decode_image(
            example["image"], channels=3, expand_animations=False
        )
    except tf.errors.InvalidArgumentError as error:
        return gist(error)
    return ""


def _load_tfds(name, split, data_dir):
    builder = _builder(name, data_dir)
    _check_features(builder)
    _prepare(builder)
    split = split or _evaluation_split(name, list(builder.info.splits))
    try:
        info = builder.info.splits[split]
    except _NO_SPLIT as error:
        raise _unknown_split(name, split, list(builder.info.splits)) from error
    _check_not_empty(name, split, info.num_examples)

    def read(shuffle_seed):
        # Unshuffled too, TFDS takes turns with 16 files: the second half of a
        # split is then not what comes second in the whole.
        in_order = {"interleave_cycle_length": 1} if shuffle_seed is None else {}
        examples = builder.as_dataset(
            split=split,
            shuffle_files=shuffle_seed is not None,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(
                shuffle_seed=shuffle_seed,
                **in_order,
                add_tfds_id=True,
                # It would hold a small data set's bytes twice.
                try_autocache=False,
                # Ours comes at the end of the pipeline.
                skip_prefetch=True,
                # `examples` does it, and a data service must not.
                assert_cardinality=False,
            ),
        )
        return examples.map(
            lambda example: {
                "image": example["image"],
                "label": tf.cast(example["label"], tf.int32),
                "name": example["tfds_id"],
            }
        )

    return Source(
        name,
        split,
        tuple(builder.info.features["label"].names),
        info.num_examples,
        str(builder.data_path),
        f"{builder.info.full_name} {split} {info.num_examples}",
        read,
        prepared=_prepared(str(builder.data_path)),
    )


def _prepared(folder):
    """What `preparing` says of a data set that it has made."""
    path = os.path.join(folder, PREPARED)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    return {key: settings[key] for key in ("image_size", "resize")}


def _builder(name, data_dir):
    if name == "textures":
        # Imported here so that only who wants it has it registered with TFDS.
        from alexnet_tf.textures import Textures

        return Textures(data_dir=data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, LookupError) as error:
        raise ValueError(
            "Expected textures, folder:PATH, list:FILE or the name of a data "
            f"set of TFDS. Received: dataset={name!r} "
            f"({str(error).strip().splitlines()[0]})."
        ) from error


def _prepare(builder):
    """Makes sure that the data set lies prepared on the disk."""
    if builder.is_prepared():
        return
    manual = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    # data_dir/NAME/VERSION or data_dir/NAME/CONFIGURATION/VERSION
    root = str(builder.data_dir).rpartition(f"{os.sep}{builder.name}{os.sep}")[0]
    folder = os.path.join(root, "downloads", "manual")
    if manual and not (os.path.isdir(folder) and os.listdir(folder)):
        raise FileNotFoundError(
            f"Expected {builder.name} prepared in {builder.data_dir}, or its "
            f"archives in {folder}. Received: neither. "
            + _archives(builder.name, manual)
            + " Or point data_dir at the folder that holds it prepared."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever stopped it, the way out is the same.
        raise OSError(
            f"{builder.name} could not be prepared in {builder.data_dir}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _archives(name, instructions):
    if name == "imagenet2012":
        return (
            "Download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar "
            "from https://image-net.org/ and put them there as they are."
        )
    return " ".join(instructions.split())


def _check_features(builder):
    features = dict(builder.info.features)
    if not (
        isinstance(features.get("image"), tfds.features.Image)
        and isinstance(features.get("label"), tfds.features.ClassLabel)
    ):
        raise ValueError(
            "Expected a data set for image classification, with the features "
            f'"image" and "label". Received: {builder.name} with '
            f"{', '.join(features)}."
        )


def _scan_folder(path):
    """({split: reader}, classes, folder) of a tree of class folders.

    A reader gives [(file, label)]: what is not asked for need not be in order.
    """
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            "Expected a folder that holds one folder per class. Received: "
            f"{path}, which is none."
        )
    names = _subfolders(path)
    # Not so where "train" is one class among others.
    if "train" in names and _subfolders(os.path.join(path, "train")):
        roots = {name: os.path.join(path, name) for name in names}
    else:
        roots = {"train": path}
    classes = _subfolders(roots["train"])
    readers = {
        split: functools.partial(_class_files, root, classes)
        for split, root in roots.items()
    }
    return readers, classes, path


def _class_files(root, classes):
    if _subfolders(root) != classes:
        odd = sorted(set(_subfolders(root)) ^ set(classes))
        raise ValueError(
            "Expected the same class folders in each split. Received: "
            f"{', '.join(odd)} in one only ({root})."
        )
    files, ignored = [], []
    for label, name in enumerate(classes):
        folder = os.path.join(root, name)
        for entry in sorted(os.listdir(folder)):
            # macOS puts a "._1.jpg" beside 1.jpg that is no picture.
            fits = entry.lower().endswith(_EXTENSIONS) and entry[0] != "."
            (files if fits else ignored).append(
                (os.path.join(folder, entry), label)
            )
    if ignored:
        _log.info(
            "Left out %d files in %s that are not called %s: %s, ...",
            len(ignored), root, " ".join(_EXTENSIONS), ignored[0][0],
        )
    return files


def _subfolders(path):
    return sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _read_lists(path):
    """({split: reader}, classes, folder) of `path label` lines.

    Readers as in `_scan_folder`. A file is the split "train"; of a folder each
    NAME.txt is the split NAME. The labels of "train" say how many classes
    there are.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        folder = path
        names = [n for n in sorted(os.listdir(path)) if n.endswith(".txt")]
        files = {n.removesuffix(".txt"): os.path.join(path, n) for n in names}
    else:
        folder = os.path.dirname(path) or "."
        files = {"train": path}
    if "train" not in files or not os.path.isfile(files["train"]):
        raise FileNotFoundError(
            "Expected a file of `path label` lines, or a folder that holds "
            f"train.txt. Received: {path}."
        )
    train = _read_list(files["train"])
    count = 1 + max((label for _, label in train), default=0)
    _check_class_count(count, train, files["train"])
    readers = {
        split: functools.partial(_read_known, file, count, files["train"])
        for split, file in files.items()
    }
    readers["train"] = lambda: train
    return readers, [str(label) for label in range(count)], folder


def _check_class_count(count, examples, list_file):
    """Refuses what must be a slip, as a label of 7000000.

    A short list of ImageNet's pictures may well have its 1000 classes; more
    than those, and more than pictures, can't be learned.
    """
    if count > max(len(examples), 1000):
        file = next(file for file, label in examples if label == count - 1)
        raise ValueError(
            "Expected no more classes than pictures, or than 1000, in "
            f"{list_file}. Received: label {count - 1} for {file}, "
            f"{len(examples)} pictures. Number the classes from 0."
        )


def _read_known(list_file, count, train_file):
    """[(file, label)], whose labels the training split knows."""
    examples = _read_list(list_file)
    for file, label in examples:
        if label >= count:
            raise ValueError(
                f"Expected labels from 0 to {count - 1}, those of "
                f"{train_file}. Received: {label} for {file} in {list_file}."
            )
    return examples


def _read_list(list_file):
    folder = os.path.dirname(list_file)
    examples = []
    # A name that is not UTF-8 is found all the same.
    with open(list_file, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            *path, label = line.strip().rsplit(None, 1)
            where = f"line {number} of {list_file}: {line.strip()!r}"
            if not (path and label.isdecimal()):
                raise ValueError(
                    "Expected a path, a space or tab and a label, an integer "
                    f"of 0 or more. Received: {where}."
                )
            path = os.path.join(folder, os.path.expanduser(*path))
            if not os.path.isfile(path):
                raise FileNotFoundError(
                    f"Expected a picture at {path}. Received: no such file, "
                    f"{where}."
                )
            examples.append((path, int(label)))
    return examples


def _load_files(name, split, readers, classes, folder):
    split = split or _evaluation_split(name, list(readers))
    examples = _select(name, split, readers, folder)
    _check_not_empty(name, split, len(examples))
    paths = [path for path, _ in examples]
    # Bytes: a name need not be UTF-8.
    names = np.array([os.fsencode(path) for path in paths], object)
    labels = np.array([label for _, label in examples], np.int32)

    def read(shuffle_seed):
        order = np.arange(len(paths))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        return tf.data.Dataset.from_tensor_slices(
            {"name": names[order], "label": labels[order]}
        )

    def fetch(reference):
        return reference | {"image": tf.io.read_file(reference["name"])}

    return Source(
        name,
        split,
        tuple(classes),
        len(paths),
        folder,
        _fingerprint(paths),
        read,
        fetch,
    )


def _fingerprint(paths):
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # Who reads it will say so.
        digest.update(os.fsencode(path))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _select(name, split, readers, folder):
    """The (file, label) pairs of a split of TFDS's form."""
    asked = {part.partition("[")[0].strip() for part in split.split("+")}
    splits = {
        key: read()
        for key, read in readers.items()
        if key in asked or "all" in asked
    }
    infos = {
        key: tfds.core.SplitInfo(key, [len(files)], 0)
        for key, files in splits.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except _NO_SPLIT as error:
        raise _unknown_split(name, split, list(readers)) from error
    chosen = []
    for part in parts:
        files = _mixed(splits[part.splitname], folder)
        chosen += files[part.from_ : part.to]
    return chosen


def _mixed(files, folder):
    """In an order that has nothing to do with the classes.

    Files lie class by class: "train[:90%]" would leave the last ones out. By
    digests of their names, since what is trained on and what not must stay when a
    picture is added to those that there are, or all of them are moved.
    """

    def digest(file):
        return hashlib.sha256(os.fsencode(file[0].removeprefix(folder))).digest()

    return sorted(files, key=digest)


def _evaluation_split(name, splits):
    for split in _EVALUATION_SPLITS:
        if split in splits:
            return split
    raise ValueError(
        "Expected a split to evaluate on, one of "
        f"{', '.join(_EVALUATION_SPLITS)}. Received: {name}, which has only "
        f"{', '.join(splits)}. {_CARVE}"
    )


def _unknown_split(name, split, splits):
    return ValueError(
        f"Expected one of the splits {', '.join(splits)} of {name}, or a part "
        f'of one such as "{splits[0]}[:90%]". Received: split={split!r}.'
    )


def _check_not_empty(name, split, count):
    if count == 0:
        raise ValueError(
            f"Expected pictures ({', '.join(_EXTENSIONS)}) in {name}, split "
            f"{split}. Received: none."
        )
