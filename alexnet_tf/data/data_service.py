"""Servers that preprocess images on other machines: a data service of `tf.data`."""

import contextlib
import socket


def dispatcher(port):
    """Starts the dispatcher of a data service.

    Args:
        port: the port to listen on, 0 for a free one.

    Returns:
        A running `tf.data.experimental.service.DispatchServer`.

    Raises:
        OSError: if the port cannot be used.
    """
    import tensorflow as tf

    service = tf.data.experimental.service
    with _naming_port(port):
        return service.DispatchServer(service.DispatcherConfig(port=port))


def worker(dispatcher_address, port, host):
    """Starts a worker of a data service.

    Args:
        dispatcher_address: HOST:PORT of the dispatcher.
        port: the port to listen on, 0 for a free one.
        host: the host name or IP address by which other machines reach this one.

    Returns:
        A running `tf.data.experimental.service.WorkerServer`.

    Raises:
        ValueError: if `dispatcher_address` is not HOST:PORT.
        ConnectionError: if no server listens at `dispatcher_address`.
        OSError: if the port cannot be used.
    """
    import tensorflow as tf

    check_dispatcher(dispatcher_address)
    service = tf.data.experimental.service
    config = service.WorkerConfig(
        dispatcher_address, worker_address=f"{host}:%port%", port=port
    )
    with _naming_port(port):
        return service.WorkerServer(config)


@contextlib.contextmanager
def _naming_port(port):
    """Replaces the error of TensorFlow if a server cannot start."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(
            f"A server cannot listen on port {port} ({error}). Another program may use "
            "this port, or only administrators may use it. Give another --port."
        ) from error


def check_dispatcher(address):
    """Checks that a server listens at an address.

    TensorFlow would wait for a server instead of raising an error.

    Args:
        address: HOST:PORT of a dispatcher.

    Raises:
        ValueError: if the address is not HOST:PORT.
        ConnectionError: if no server listens at the address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"Expected the dispatcher's HOST:PORT. Received: {address!r}."
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConnectionError(
            f"There is no dispatcher of a data service at {address}: {error}. Start "
            f"one: python -m alexnet_tf.serve_data --port={port}."
        ) from error
