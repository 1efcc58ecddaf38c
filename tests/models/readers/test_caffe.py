"""Caffe's files are read in all of their variants, and other files are rejected."""

import tracemalloc

from hypothesis import given, settings, strategies as st
import keras
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from helpers import caffe_protobuf
from helpers import networks
from helpers import protobuf_files
from helpers.protobuf_files import blob
from helpers.protobuf_files import caffe_layer
from helpers.protobuf_files import caffemodel
from helpers.protobuf_files import field
from helpers.protobuf_files import fields
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import damaged
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays
from helpers.weight_arrays import to_caffe_layout

# {variant of the file: keyword arguments of `caffemodel`}. `runs` splits the packed
# numbers into several fields.
VARIANTS = {
    "published": dict(version=1, old_shape=True),
    "new": dict(version=2),
    "upgraded": dict(version=2, old_shape=True),
    "oldest": dict(version=0, old_shape=True),
    "not packed": dict(version=2, packed=False),
    "several fields": dict(version=1, old_shape=True, runs=3),
}


def caffe_arrays(family="caffe"):
    """Returns {layer: [kernel, bias]} in the layout of Caffe."""
    return to_caffe_layout(reference_arrays(family)[0])


def write(tmp_path, content):
    path = tmp_path / "network.caffemodel"
    path.write_bytes(content)
    return path


def error_message(tmp_path, content, model=None):
    """Returns the error message for a file, and checks that no weights are changed."""
    model = model or narrow_model("caffe")
    before = copy_weights(model)
    with pytest.raises(ValueError) as error:
        load_weights(model, write(tmp_path, content))
    assert_weights_equal(model, before)
    return str(error.value)


def assert_weights_are(model, arrays):
    """Checks that the weights of a model equal {layer: [W, b]}, bit for bit."""
    for name, parts in arrays.items():
        assert_weights_equal(model.get_layer(name), parts)


@pytest.mark.parametrize("variant", VARIANTS)
def test_arrays_of_all_variants_are_loaded_bit_for_bit(tmp_path, variant):
    arrays, images, logits = reference_arrays("caffe")
    path = write(tmp_path, caffemodel(to_caffe_layout(arrays), **VARIANTS[variant]))
    model = narrow_model("caffe")
    report = load_weights(model, path)
    assert report.arrays == 16 and not report.skipped
    assert_weights_are(model, arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


def test_numbers_of_double_precision_have_precedence(tmp_path):
    """Like Caffe, the reader ignores `data` if a blob also has `double_data`."""
    arrays, _, _ = reference_arrays("caffe")

    def to_doubles(array):
        return blob(array.astype(np.float64)) + field(5, np.zeros(3, "f4").tobytes())

    content = b"".join(
        caffe_layer(name, kind, [], [], [*map(to_doubles, parts)], version=2)
        for name, parts in to_caffe_layout(arrays).items()
        for kind in ["Convolution" if parts[0].ndim == 4 else "InnerProduct"]
    )
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, content))
    assert_weights_are(model, arrays)


def test_layers_are_matched_by_name_in_any_order(tmp_path):
    arrays, _, _ = reference_arrays("caffe")
    layers = [
        caffe_layer(name, "Convolution", [], [], [*map(blob, parts)], version=2)
        for name, parts in to_caffe_layout(arrays).items()
    ]
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, b"".join(layers[::-1])))
    assert_weights_are(model, arrays)


def test_only_leading_dimensions_of_one_are_dropped(tmp_path):
    """The kernel (1, 1, 1, 18) of fc8 becomes (1, 18), and (7, 18, 1, 1) is kept."""
    arrays = caffe_arrays()
    arrays["fc8"] = arrays["fc8"][0][:1], arrays["fc8"][1][:1]
    model = narrow_model("caffe", classes=1)
    load_weights(model, write(tmp_path, caffemodel(arrays, old_shape=True)))
    np.testing.assert_array_equal(
        model.get_layer("fc8").kernel.numpy(), arrays["fc8"][0].T
    )
    arrays = caffe_arrays()
    arrays["fc8"] = arrays["fc8"][0][..., np.newaxis, np.newaxis], arrays["fc8"][1]
    assert "kernel 1x1x18x7" in error_message(tmp_path, caffemodel(arrays))


@pytest.mark.parametrize("family", ["caffe", "caffenet"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_order_of_the_layers_identifies_the_network(tmp_path, family, version):
    """The name in the file is that of the other network, and is not used."""
    name = {"caffe": "CaffeNet", "caffenet": "AlexNet"}[family]
    path = write(tmp_path, caffemodel(caffe_arrays(family), family, name, version))
    file = weight_formats.open_weights(path)
    assert {"AlexNet", "CaffeNet"} - {name} == {file.network}


@pytest.mark.parametrize(
    "name, network",
    [
        ("CaffeNet-Places365", "CaffeNet"),
        ("AlexNet", "AlexNet"),
        ("caffenet", "CaffeNet"),
        ("VGG", None),
    ],
)
def test_the_name_identifies_the_network_if_the_order_does_not(tmp_path, name, network):
    content = caffemodel(caffe_arrays("owt"), "owt", name)
    file = weight_formats.open_weights(write(tmp_path, content))
    assert file.network == network


def test_rejects_weights_of_caffenet_for_alexnet_and_vice_versa(tmp_path):
    for family, other in [("caffe", "caffenet"), ("caffenet", "caffe")]:
        content = caffemodel(caffe_arrays(family), family)
        message = error_message(tmp_path, content, narrow_model(other))
        assert f"Choose the preset {family}" in message


def test_files_without_weights_are_described(tmp_path):
    prototxt = b'# A comment\nname: "AlexNet"\nlayer {\n  name: "data"\n}\n'
    old_prototxt = b'name: "CaffeNet"\ninput: "data"\ninput_dim: 10\nlayers {\n}\n'
    mean = blob(np.ones((1, 3, 4, 4), "f4"), old_shape=True)
    solver_state = field(1, 450000) + field(2, "net_iter_450000.caffemodel")
    solver_state += fields(3, [mean, mean])
    for content, message in [
        (prototxt, "description of a network as text. The weights are in"),
        (old_prototxt, "description of a network as text. The weights are in"),
        (caffemodel({}, version=2), "describes a network and holds no weights"),
        (caffemodel({}, version=1), "describes a network and holds no weights"),
        (caffemodel({}, version=0), "describes a network and holds no weights"),
        (solver_state, "state of a solver. The weights are in"),
        (mean, "is a mean image"),
        (blob(np.ones((3, 4, 4), "f4")), "is a mean image"),
    ]:
        assert message in error_message(tmp_path, content)


def test_other_files_are_not_taken_for_files_of_caffe(tmp_path):
    rng = np.random.default_rng(0)
    model = narrow_model("caffe")
    contents = [rng.bytes(size) for size in range(1, 200)]
    contents += [
        b"", b"x", b"layer by layer", "名前: \"x\"\n".encode(), bytes(1000),
        b'title: "x"\nname: "layers"\n', b"layer {\n\0",
        # In Caffe2's NetDef, `op` has the field number of Caffe's `layers`.
        field(1, "net") + field(2, field(2, "conv1_w") + field(4, "GivenTensorFill")),
    ]  # fmt: skip
    for content in contents:
        assert "none of the formats of weights files" in error_message(
            tmp_path, content, model
        )


def test_rejects_layers_that_alexnet_does_not_have(tmp_path):
    arrays = caffe_arrays()
    content = caffemodel(arrays, version=2)
    scale = [blob(np.ones(16, "f4"))] * 3

    def add(name, blobs, kind="Convolution"):
        layer = caffe_layer(name, kind, [], [], blobs, version=2)
        return error_message(tmp_path, content + layer)

    assert "batch normalization" in add("bn1", scale, "BatchNorm")
    assert "conv9 has 3 arrays instead of a kernel and" in add("conv9", scale)
    assert "conv9      missing" in add("conv9", scale[:2])
    assert "two of its layers are called conv1" in add("conv1", scale[:1])
    assert "Sobel" in add("sobel.0", scale[:2])


# ---- Damaged and malicious files -------------------------------------------


@pytest.mark.parametrize("kept_share", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("variant", ["published", "new", "oldest", "not packed"])
def test_rejects_truncated_files(tmp_path, variant, kept_share):
    content = caffemodel(caffe_arrays(), **VARIANTS[variant])
    message = error_message(tmp_path, content[: int(kept_share * len(content))])
    assert "network.caffemodel: it " in message
    assert "none of the formats" not in message


def test_rejects_groups_and_lengths_beyond_the_parent(tmp_path):
    content = caffemodel(caffe_arrays(), version=2)
    group = protobuf_files.varint(9 << 3 | 3) + protobuf_files.varint(9 << 3 | 4)
    assert "wire type 3" in error_message(tmp_path, content + group)
    inner = field(1, "conv1") + field(2, "Convolution")
    # The blob claims to be larger than its layer, but not than the file.
    inner += protobuf_files.varint(7 << 3 | 2) + protobuf_files.varint(100)
    message = error_message(tmp_path, field(100, inner) + content)
    assert "a field of 100 bytes, of which only 0 are left" in message


def blob_with_shape(*shape, new=True):
    """Returns a BlobProto of six numbers with the given shape, which may not fit."""
    numbers = field(5, np.ones(6, "f4").tobytes())
    if new:
        return field(7, fields(1, shape)) + numbers
    return b"".join(map(field, (1, 2, 3, 4), shape)) + numbers


@pytest.mark.parametrize(
    "content, message",
    [
        (blob_with_shape(2, 4), r"shape \(2, 4\) with 6 numbers"),
        (blob_with_shape(2**40, 2**40), "with 6 numbers"),
        (blob_with_shape(2**62, 2**62, 2**62, 2**62), "with 6 numbers"),
        (blob_with_shape(-2, -3), r"shape \(-2, -3\) with 6 numbers"),
        (blob_with_shape(*[1] * 7, 2, 3), "more than 8 dimensions"),
        (blob_with_shape(1, 1, 2, 4, new=False), r"shape \(1, 1, 2, 4\) with 6"),
        (blob_with_shape(1, 1, -2, -3, new=False), r"shape \(1, 1, -2, -3\)"),
        (field(7, b"\x0a\x0b" + b"\x80" * 10 + b"\1"), "more than 64 bits"),
        (field(7, b"\x0a\x01\x80"), "ends within a field"),
        (field(5, b"12345"), "does not consist of float32 numbers"),
        (field(8, b"12345"), "does not consist of float64 numbers"),
        (field(5, np.float64(1)), "does not consist of float32 numbers"),
        (field(5, 3), "does not consist of float32 numbers"),
        (field(7, 3), "a number in place of a message"),
        (field(1, "one"), "whose type is not integer"),
    ],
)
def test_rejects_malformed_blobs(tmp_path, content, message):
    layer = caffe_layer("conv1", "Convolution", [], [], [content], version=2)
    with pytest.raises(ValueError, match=message):
        load_weights(narrow_model("caffe"), write(tmp_path, layer))


@pytest.mark.parametrize(
    "content, message",
    [
        (field(100, field(1, "a") + field(2, "b")) * 1001, "more than 1,000 layers"),
        (caffemodel({}) + field(9, 1) * 21_000, "more than 20,000 fields"),
        # Consecutive fields of a fixed size are read as one.
        (caffemodel({}) + field(9, np.float32(1)) * 21_000, "no weights"),
        (caffe_layer("a" * 257, "LRN", [], [], [], 2), "of at most 256 bytes"),
        (caffemodel({}) + b"\0\0", "a field with the number 0"),
    ],
)
def test_the_number_of_fields_and_the_length_of_names_are_limited(
    tmp_path, content, message
):
    with pytest.raises(ValueError, match=message):
        load_weights(narrow_model("caffe"), write(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        caffe_layer("a", "LRN", [], [], [], 2) + field(100, b"") * 19_000,
        caffe_layer("a", "LRN", [], ["x" * 250] * 19_000, [], 2),
        caffe_layer("a", "LRN", [], [], [blob(np.ones(1, "f4"))] * 6_000, 2),
        caffe_layer("a", "LRN", [], [], [field(5, b"1234") * 19_000], 2),
    ],
)
def test_many_small_fields_take_little_memory(tmp_path, content):
    path = write(tmp_path, content)
    model = narrow_model("caffe")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="network.caffemodel: it "):
            load_weights(model, path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Returns ({variant: bytes of a valid file}, a model for them, a folder)."""
    inputs = x = keras.Input((4,))
    for name in ("fc7", "fc8"):
        x = keras.layers.Dense(3, name=name)(x)
    model = keras.Model(inputs, x)
    arrays = {
        layer.name: [layer.kernel.numpy().T, layer.bias.numpy()]
        for layer in model.layers[1:]
    }
    contents = {
        variant: caffemodel(arrays, **options) for variant, options in VARIANTS.items()
    }
    return contents, model, tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("variant", ["published", "new", "oldest"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files(small_files, variant, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    contents, model, folder = small_files
    path = folder / "damaged.caffemodel"
    path.write_bytes(damaged(contents[variant], data))
    check_loads_or_rejects(model, path)


# ---- Helpers that build the test files ---------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_protobuf_reads_the_test_files(variant):
    arrays = caffe_arrays()
    content = caffemodel(arrays, name="AlexNet", **VARIANTS[variant])
    network = caffe_protobuf.make_messages()["NetParameter"].FromString(content)
    assert network.name == "AlexNet"
    layers = [*network.layers, *network.layer]
    assert layers[0].bottom == ["data"] and layers[0].top == ["conv1"]
    found = {}
    for layer in layers:
        layer = layer.layer if VARIANTS[variant]["version"] == 0 else layer
        if layer.blobs:
            found[layer.name] = layer.blobs
    assert [*found] == [*arrays]
    for name, parts in arrays.items():
        for part, stored in zip(parts, found[name], strict=True):
            old_shape = stored.num, stored.channels, stored.height, stored.width
            shape = tuple(stored.shape.dim) or old_shape
            assert shape[-part.ndim :] == part.shape and {*shape[: -part.ndim]} <= {1}
            np.testing.assert_array_equal(stored.data, part.ravel())


@pytest.mark.parametrize("container", ["layer", "layers"])
def test_loads_files_written_by_protobuf(tmp_path, container):
    arrays, _, _ = reference_arrays("caffe")
    network = caffe_protobuf.make_messages()["NetParameter"](name="AlexNet")
    for name, parts in to_caffe_layout(arrays).items():
        layer = getattr(network, container).add(name=name)
        is_convolution = parts[0].ndim == 4
        if container == "layer":
            layer.type = "Convolution" if is_convolution else "InnerProduct"
        else:
            layer.type = 4 if is_convolution else 14
        for part in parts:
            stored = layer.blobs.add(data=part.ravel())
            stored.shape.dim.extend(part.shape)
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, network.SerializeToString()))
    assert_weights_are(model, arrays)
