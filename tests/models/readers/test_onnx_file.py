"""ONNX files of all exporters are read; quantized and incomplete ones are rejected."""

import hashlib
import os
import tracemalloc

from hypothesis import given, settings, strategies as st
import keras
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.readers import onnx_file
from alexnet_tf.models.weights import load_weights
from helpers import networks
from helpers.protobuf_files import field
from helpers.protobuf_files import fields
from helpers.protobuf_files import network_nodes
from helpers.protobuf_files import node
from helpers.protobuf_files import onnx_model
from helpers.protobuf_files import onnx_network
from helpers.protobuf_files import packed_integers
from helpers.protobuf_files import tensor
from helpers.protobuf_files import tensorflow_network
from helpers.protobuf_files import varint
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import damaged
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays
from helpers.weight_arrays import to_caffe_layout

# {name: keyword arguments of `onnx_network`}.
VARIANTS = {
    "raw": dict(),
    "packed": dict(packed=True),
    "floats": dict(raw=False, packed=True),
    "floats not packed": dict(raw=False),
    "invented names": dict(invented_names=True),
    "Gemm without transB": dict(product="Gemm without transB"),
    "MatMul": dict(product="MatMul", invented_names=True),
}


def onnx_arrays(family="caffe", dtype="float32"):
    """Returns {layer: [kernel, bias]} in the layout of Caffe and ONNX."""
    return {
        name: [part.astype(dtype) for part in parts]
        for name, parts in to_caffe_layout(reference_arrays(family)[0]).items()
    }


def write(tmp_path, content):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    return path


def reason(tmp_path, content, model=None):
    """Returns the error message for a file, and checks that no weights are changed."""
    model = model or narrow_model("caffe")
    before = copy_weights(model)
    with pytest.raises(ValueError) as error:
        load_weights(model, write(tmp_path, content))
    assert_weights_equal(model, before)
    return str(error.value)


def assert_weights_are(model, arrays, dtype="float32"):
    """Checks that the weights of a model equal {layer: [W, b]}, rounded to `dtype`."""
    for name, parts in arrays.items():
        assert_weights_equal(
            model.get_layer(name),
            [part.astype(dtype).astype("float32") for part in parts],
        )


@pytest.mark.parametrize("family", ["caffe", "owt"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_arrays_of_all_variants_are_loaded_bit_for_bit(tmp_path, family, variant):
    arrays, images, logits = reference_arrays(family)
    content = onnx_network(to_caffe_layout(arrays), family, **VARIANTS[variant])
    model = narrow_model(family)
    report = load_weights(model, write(tmp_path, content))
    assert report.arrays == 16 and not report.skipped
    assert_weights_are(model, arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


@pytest.mark.parametrize("family", ["caffe", "caffenet", "owt"])
def test_loads_exports_of_tensorflow(tmp_path, family):
    """They split grouped convolutions, and flatten maps in the order H, W, C."""
    arrays, images, logits = reference_arrays(family)
    path = write(tmp_path, tensorflow_network(arrays, family))
    model = narrow_model(family)
    load_weights(model, path)
    assert_weights_are(model, arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("raw, packed", [(True, False), (False, True), (False, False)])
def test_converts_other_floating_dtypes(tmp_path, dtype, raw, packed):
    content = onnx_network(onnx_arrays(dtype=dtype), raw=raw, packed=packed)
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, content))
    assert_weights_are(model, reference_arrays("caffe")[0], dtype)


def test_decodes_all_float16_numbers(tmp_path):
    """Their bits are stored as integers of one, two or three bytes."""
    bits = np.arange(2**16, dtype=np.uint16)
    numbers = bits[np.isfinite(bits.view("f2"))].view("f2")
    arrays = onnx_arrays(dtype="float16")
    kernel = np.resize(numbers, arrays["conv2"][0].shape)
    with np.errstate(all="ignore"):
        arrays["conv2"][0] = kernel
    model = narrow_model("caffe")
    content = onnx_network(arrays, raw=False, packed=True)
    load_weights(model, write(tmp_path, content))
    np.testing.assert_array_equal(
        model.get_layer("conv2").kernel.numpy(),
        np.moveaxis(kernel.astype("f4"), (0, 1), (3, 2)),
    )


def test_arrays_of_constants_copies_and_transposed_kernels_are_found(tmp_path):
    arrays = onnx_arrays()
    fc7, fc8 = arrays["fc7"], arrays["fc8"]
    nodes = [
        node("Constant", [], ["c7"], value=tensor("", fc7[0])),
        node("Identity", ["fc8_w_0"], ["i8"]),
        node("Transpose", ["i8"], ["t8"], perm=(1, 0)),
        node("Cast", ["fc8_b_0"], ["b8"], to=1),
    ]
    nodes += network_nodes("caffe", lambda layer: [f"{layer}_w_0", f"{layer}_b_0"])[:-4]
    nodes += [
        node("Gemm", ["drop6", "c7", "fc7_b_0"], ["fc7"], transB=1),
        node("MatMul", ["fc7", "t8"], ["fc8_product"]),
        node("Add", ["b8", "fc8_product"], ["fc8"]),
    ]
    tensors = [
        tensor(f"{name}_{part}_0", array)
        for name, parts in arrays.items()
        for part, array in zip("wb", parts)
        if (name, part) != ("fc7", "w")
    ]
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, onnx_model(nodes, tensors)))
    assert_weights_are(model, reference_arrays("caffe")[0])
    np.testing.assert_array_equal(
        model.get_layer("fc8").kernel.numpy(), fc8[0].T
    )


@pytest.mark.parametrize("family", ["caffe", "caffenet"])
def test_the_order_of_the_nodes_identifies_the_network(tmp_path, family):
    """The name of the graph is that of the other network, and is not used."""
    name = {"caffe": "CaffeNet", "caffenet": "AlexNet"}[family]
    content = onnx_network(onnx_arrays(family), family, name=name)
    file = weight_formats.open_weights(write(tmp_path, content))
    assert {file.network} == {"AlexNet", "CaffeNet"} - {name}
    other = {"caffe": "caffenet", "caffenet": "caffe"}[family]
    message = reason(tmp_path, content, narrow_model(other))
    assert f"Choose the preset {family}" in message


@pytest.mark.parametrize("pools_first", [True, False])
def test_a_normalization_of_several_operations_is_recognized(tmp_path, pools_first):
    """PyTorch exports operations such as Pow and Div in place of LRN."""
    kernel = tensor("w", np.ones((16, 3, 11, 11), "f4"))
    norm_input = "pool1" if pools_first else "conv1"
    pool_input = "conv1" if pools_first else "norm1"
    nodes = [
        node("Conv", ["data", "w"], ["conv1"]),
        node("Pow", [norm_input], ["power"]),
        node("Div", [norm_input, "power"], ["norm1"]),
        node("MaxPool", [pool_input], ["pool1"]),
    ]
    path = write(tmp_path, onnx_model(nodes, [kernel], "main_graph"))
    file = weight_formats.open_weights(path)
    assert file.network == ("CaffeNet" if pools_first else "AlexNet")


def test_the_name_of_the_graph_identifies_the_network_otherwise(tmp_path):
    """It is used if no order of normalization and pooling can be found."""
    for name, network in [("bvlc_alexnet", "AlexNet"), ("main_graph", None)]:
        content = onnx_network(onnx_arrays("owt"), "owt", name=name)
        file = weight_formats.open_weights(write(tmp_path, content))
        assert file.network == network


@pytest.mark.parametrize(
    "quantized",
    [
        node("QLinearConv", ["data", "s", "z", "w"], ["q"]),
        node("DequantizeLinear", ["w", "s", "z"], ["q"]),
        node("QuantizeLinear", ["data", "s", "z"], ["q"]),
        node("MatMulInteger", ["data", "w"], ["q"]),
        node("Conv", ["data", "w"], ["q"]),
    ],
)
def test_rejects_quantized_networks(tmp_path, quantized):
    weights = tensor("w", np.ones((16, 3, 11, 11), "i1"))
    message = reason(tmp_path, onnx_model([quantized], [weights]))
    assert "it is quantized" in message and "such as bvlcalexnet-12.onnx" in message


def external_model(changes=(), data_name="weights.data", **kwargs):
    """Returns a ModelProto whose arrays are in another file, and the file's bytes.

    Args:
        changes: {key: value} that replace entries for the kernel of conv1; None to
            leave an entry out.
        data_name: the name of the other file.
        **kwargs: keyword arguments of `onnx_arrays`.
    """
    data, tensors = b"", []
    for layer, parts in onnx_arrays(**kwargs).items():
        for part, array in zip("wb", parts):
            data += bytes(-len(data) % 64)
            entries = {
                "location": data_name, "offset": len(data), "length": array.nbytes,
            }  # fmt: skip
            if (layer, part) == ("conv1", "w"):
                entries |= dict(changes)
            number_type = {"float32": 1, "float16": 10}[array.dtype.name]
            message = fields(1, array.shape) + field(2, number_type)
            message += field(8, f"{layer}_{part}_0")
            for key, value in entries.items():
                if value is not None:
                    message += field(13, field(1, key) + field(2, str(value)))
            tensors.append(message + field(14, 1))
            data += array.tobytes()
    nodes = network_nodes("caffe", lambda layer: [f"{layer}_w_0", f"{layer}_b_0"])
    return onnx_model(nodes, tensors), data


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_reads_arrays_in_another_file(tmp_path, monkeypatch, dtype):
    content, data = external_model(dtype=dtype)
    (tmp_path / "weights.data").write_bytes(data)
    path = write(tmp_path, content)
    for path in (path, path.name):  # A path without a folder, too.
        monkeypatch.chdir(tmp_path)
        model = narrow_model("caffe")
        assert load_weights(model, path).arrays == 16
        assert_weights_are(model, reference_arrays("caffe")[0], dtype)


def test_offset_and_length_of_external_data_may_be_missing(tmp_path):
    content, data = external_model({"offset": None, "length": None})
    (tmp_path / "weights.data").write_bytes(data)
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, content))
    assert_weights_are(model, reference_arrays("caffe")[0])


OTHER_FOLDER = "not in a file in its folder.*external_data=False"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"location": "../secret"}, OTHER_FOLDER),
        ({"location": "/etc/passwd"}, OTHER_FOLDER),
        ({"location": "sub/secret"}, OTHER_FOLDER),
        ({"location": "sub\\secret"}, OTHER_FOLDER),
        ({"location": "C:secret"}, OTHER_FOLDER),
        ({"location": ".."}, OTHER_FOLDER),
        ({"location": "."}, OTHER_FOLDER),
        ({"location": ""}, OTHER_FOLDER),
        ({"location": None}, OTHER_FOLDER),
        ({"location": "a\0b"}, OTHER_FOLDER),
        ({"location": "none.data"}, "none.data, which is missing"),
        ({"location": "link"}, "link to another folder"),
        ({"location": "sub"}, "not a regular file"),
        ({"location": "pipe"}, "not a regular file"),
        ({"location": "empty"}, "empty is incomplete: it has 0 bytes"),
        ({"offset": 10**9}, "weights.data is incomplete"),
        ({"offset": 10**18}, "offset or length is not a number"),
        ({"offset": -4}, "offset or length is not a number"),
        ({"offset": "1e3"}, "offset or length is not a number"),
        ({"offset": "\u0661"}, "offset or length is not a number"),
        ({"length": 4}, "a length of 4 bytes for an array of"),
        ({"length": 10**15}, "a length of 1000000000000000 bytes"),
        ({"length": -1}, "offset or length is not a number"),
    ],
)
def test_rejects_arrays_in_files_elsewhere_or_of_another_size(
    tmp_path, changes, message
):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    content, data = external_model(changes)
    (folder / "weights.data").write_bytes(data)
    (folder / "empty").write_bytes(b"")
    for secret in (tmp_path / "secret", folder / "sub/secret"):
        secret.write_bytes(data)
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match=message):
        load_weights(narrow_model("caffe"), write(folder, content))


def test_a_link_within_the_folder_is_followed(tmp_path):
    content, data = external_model(data_name="link")
    (tmp_path / "weights.data").write_bytes(data)
    (tmp_path / "link").symlink_to("weights.data")
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, content))
    assert_weights_are(model, reference_arrays("caffe")[0])


def test_rejects_segments_of_arrays_and_negative_shapes(tmp_path):
    nodes = network_nodes("caffe", lambda layer: [f"{layer}_w_0", f"{layer}_b_0"])
    kernel = fields(1, (16, 3, 11, 11)) + field(2, 1) + field(8, "conv1_w_0")
    segment = kernel + field(3, field(1, 0) + field(2, 7))
    assert "divided into segments" in reason(tmp_path, onnx_model(nodes, [segment]))
    (tmp_path / "a").write_bytes(bytes(100))
    negative = fields(1, (-1, 3)) + field(2, 1) + field(8, "fc8_w_0")
    negative += field(13, field(1, "location") + field(2, "a"))
    message = reason(tmp_path, onnx_model(nodes, [negative]))
    assert "it has an array of shape (-1, 3)" in message


def test_rejects_the_untrained_networks_of_the_model_zoo(tmp_path, monkeypatch):
    content = onnx_network(onnx_arrays())
    path = write(tmp_path, content)
    model = narrow_model("caffe")
    monkeypatch.setattr(onnx_file, "_UNTRAINED_SIZE", len(content))
    load_weights(model, path)
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(onnx_file, "_UNTRAINED_HASHES", ("0" * 8, digest[:8]))
    with pytest.raises(ValueError, match="exported from an untrained network"):
        load_weights(model, path)
    path.write_bytes(content + field(2, "writer"))
    load_weights(model, path)


def test_rejects_networks_with_other_layers_than_alexnet(tmp_path):
    arrays = onnx_arrays()

    def names(layer):
        return [f"{layer}_w_0", f"{layer}_b_0"]

    tensors = [
        tensor(name, array)
        for layer, parts in arrays.items()
        for name, array in zip(names(layer), parts)
    ]
    nodes = network_nodes("caffe", names)

    def add(operator, inputs, *more_tensors, **attributes):
        added = node(operator, inputs, ["added"], **attributes)
        return reason(tmp_path, onnx_model([*nodes, added], [*tensors, *more_tensors]))

    scale = tensor("scale", np.ones(7, "f4"))
    assert "batch normalization" in add("BatchNormalization", ["fc8", "scale"], scale)
    message = add("Mul", ["fc8", "scale"], scale)
    assert "operation Mul uses the array scale, and AlexNet has no such" in message
    assert "two of its arrays are called scale" in add("Mul", [], scale, scale)
    assert "the array later of an operation Conv is not stored" in add(
        "Conv", ["fc8", "later"]
    )
    assert "the array  of an operation MatMul is not" in add("MatMul", ["fc8"])
    square = tensor("square", np.ones((7, 7), "f4"))
    for attributes in (dict(alpha=np.float32(2)), dict(beta=np.float32(0)),
                       dict(transA=1)):  # fmt: skip
        message = add("Gemm", ["fc8", "square"], square, **attributes)
        assert f"operation Gemm has {[*attributes][0]}=" in message
    assert "fc9        missing" in add("Gemm", ["fc8", "square"], square)
    vector = tensor("vector", np.ones(7, "f4"))
    assert "kernel vector has the shape (7,)" in add("MatMul", ["", "vector"], vector)
    assert "7 outputs has a bias of shape (8,)" in add(
        "Gemm", ["fc8", "square", "b"], square, tensor("b", np.ones(8, "f4"))
    )


def test_rejects_graphs_without_layers(tmp_path):
    relu = node("Relu", ["data"], ["relu"])
    message = reason(tmp_path, onnx_model([relu], []))
    assert "graph has no convolutions and fully connected layers" in message
    content = onnx_model([relu], [])
    assert "it has 2 graphs" in reason(tmp_path, content + content)


def test_a_graph_with_a_cycle_is_not_followed_forever(tmp_path):
    arrays = onnx_arrays()
    nodes = [
        node("Relu", ["a"], ["b"]),
        node("Relu", ["b"], ["a"]),
        node("Gemm", ["a", "w", "b"], ["c"], transB=1),
    ]
    kernel, bias = arrays["fc8"]
    tensors = [tensor("w", kernel), tensor("b", bias)]
    assert "fc6" in reason(tmp_path, onnx_model(nodes, tensors))


# ---- Damaged and malicious files -------------------------------------------


@pytest.mark.parametrize("kept_share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("variant", ["raw", "floats not packed"])
def test_rejects_truncated_files(tmp_path, variant, kept_share):
    content = onnx_network(onnx_arrays(), **VARIANTS[variant])
    message = reason(tmp_path, content[: int(kept_share * len(content))])
    assert "network.onnx: it has a field of" in message


def kernel_with(*messages):
    """Returns a model whose only kernel is a TensorProto of these messages."""
    return onnx_model(
        [node("Gemm", ["data", "w"], ["y"])],
        [field(8, "w") + b"".join(messages)],
    )


@pytest.mark.parametrize(
    "content, message",
    [
        (kernel_with(field(2, 1), fields(1, [2**40] * 2)), "with 0 numbers"),
        (
            kernel_with(field(2, 1), fields(1, [2, 4]), field(9, bytes(24))),
            r"shape \(2, 4\) with 6 numbers",
        ),
        (
            kernel_with(field(2, 1), fields(1, [-2, -3]), field(9, bytes(24))),
            r"shape \(-2, -3\) with 6 numbers",
        ),
        (kernel_with(field(2, 1), fields(1, [1] * 9)), "more than 8 dimensions"),
        (
            kernel_with(field(2, 1), packed_integers(1, [1] * 10**6)),
            "more than 8 dimensions",
        ),
        (kernel_with(field(2, 1), field(9, bytes(7))), "consist of float32 numbers"),
        (kernel_with(field(2, 10), field(9, bytes(7))), "consist of float16 numbers"),
        (kernel_with(field(2, 11), field(10, bytes(7))), "of float64 numbers"),
        (kernel_with(field(2, 16), fields(1, [2, 3])), "type bfloat16 instead of"),
        (kernel_with(field(2, 7), fields(1, [2, 3])), "type int64 instead of"),
        (kernel_with(field(2, 99), fields(1, [2, 3])), "type number 99 instead"),
        (kernel_with(field(2, "one"), fields(1, [2, 3])), "whose type is not integer"),
        (
            kernel_with(field(2, 10), fields(1, [2, 3]), field(5, bytes(19))),
            r"shape \(2, 3\) with 19 bytes of float16",
        ),
        (
            kernel_with(field(2, 10), fields(1, [2, 3]), field(5, bytes(5))),
            r"shape \(2, 3\) with 5 bytes of float16",
        ),
        (onnx_model([node("Relu", ["a"], ["b"])] * 6_000, []), "more than 20,000"),
        (onnx_model([node("Relu", ["a" * 257], ["b"])], []), "at most 256 bytes"),
    ],
)
def test_rejects_arrays_with_invalid_fields(
    tmp_path, content, message
):
    path = write(tmp_path, content)
    model = narrow_model("caffe")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"network.onnx: .*{message}"):
            load_weights(model, path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data, message",
    [
        (varint(2**20) + bytes(17), "more than 16 bits"),
        (b"\x80\x80\x80\1" + bytes(17), "more than three bytes"),
        (bytes(20) + b"\x80", "more than three bytes"),
        (bytes(20), "cannot reshape"),
    ],
)
def test_rejects_invalid_float16_numbers(tmp_path, data, message):
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(6, name="fc6", use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    content = kernel_with(field(2, 10), fields(1, [3, 6]), field(5, data))
    assert message in reason(tmp_path, content, model)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Returns ({variant: bytes of a valid file}, a model for them, a folder)."""
    inputs = x = keras.Input((4,))
    for name in ("fc7", "fc8"):
        x = keras.layers.Dense(3, name=name)(x)
    model = keras.Model(inputs, x)
    nodes, tensors = [], {"raw": [], "half": []}
    for layer in model.layers[1:]:
        names = [f"{layer.name}_w_0", f"{layer.name}_b_0"]
        nodes.append(node("Gemm", ["data", *names], [layer.name], transB=1))
        for name, array in zip(names, (layer.kernel.numpy().T, layer.bias.numpy())):
            tensors["raw"].append(tensor(name, np.ascontiguousarray(array)))
            half = np.ascontiguousarray(array.astype("f2"))
            tensors["half"].append(tensor(name, half, raw=False, packed=True))
    contents = {
        variant: onnx_model(nodes, arrays) for variant, arrays in tensors.items()
    }
    return contents, model, tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("variant", ["raw", "half"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files(small_files, variant, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    contents, model, folder = small_files
    path = folder / "damaged.onnx"
    path.write_bytes(damaged(contents[variant], data))
    check_loads_or_rejects(model, path)


# ---- The libraries of ONNX, if they are installed ---------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_library_of_onnx_reads_the_files_of_the_tests(variant):
    onnx = pytest.importorskip("onnx")
    arrays = onnx_arrays()
    model = onnx.load_from_string(onnx_network(arrays, **VARIANTS[variant]))
    assert model.graph.node[0].op_type == "Conv"
    assert {each.op_type for each in model.graph.node} > {"LRN", "MaxPool", "Relu"}
    stored = {
        each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer
    }
    kernel_name, bias_name = model.graph.node[0].input[1:]
    np.testing.assert_array_equal(stored[kernel_name], arrays["conv1"][0])
    np.testing.assert_array_equal(stored[bias_name], arrays["conv1"][1])
    assert len(stored) == 17 and stored["OC2_DUMMY_1"].tolist() == [0, -1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("raw", [True, False])
def test_loads_files_that_the_library_of_onnx_writes(tmp_path, dtype, raw):
    onnx = pytest.importorskip("onnx")
    arrays = onnx_arrays(dtype=dtype)
    names = {layer: [f"{layer}.weight", f"{layer}.bias"] for layer in arrays}
    initializers = [
        onnx.helper.make_tensor(
            name,
            onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            array.shape,
            array.tobytes() if raw else array.ravel(),
            raw=raw,
        )
        for layer, parts in arrays.items()
        for name, array in zip(names[layer], parts)
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", *names[layer]], [layer])
        if layer.startswith("conv")
        else onnx.helper.make_node("Gemm", ["x", *names[layer]], [layer], transB=1)
        for layer in arrays
    ]
    graph = onnx.helper.make_graph(nodes, "graph", [], [], initializers)
    content = onnx.helper.make_model(graph).SerializeToString()
    model = narrow_model("caffe")
    load_weights(model, write(tmp_path, content))
    assert_weights_are(model, reference_arrays("caffe")[0], dtype)


@pytest.mark.parametrize("family", ["caffe", "owt"])
def test_loads_what_the_command_export_writes(tmp_path, family):
    pytest.importorskip("tf2onnx")
    saved, loaded = narrow_model(family), narrow_model(family, seed=1)
    saved(np.zeros((1, *saved.input.shape[1:]), "f4"))
    saved.export(tmp_path / "w.onnx", format="onnx", verbose=False)
    load_weights(loaded, tmp_path / "w.onnx")
    assert_weights_equal(loaded, saved.get_weights())
