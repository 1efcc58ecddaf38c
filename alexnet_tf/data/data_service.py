"""Servers that prepare views on other machines: a data service of `tf.data`."""

import socket


def dispatcher(port):
    """A `tf.data.experimental.service.DispatchServer`, running."""
    import tensorflow as tf

    service = tf.data.experimental.service
    return service.DispatchServer(service.DispatcherConfig(port=port))


def worker(dispatcher_address, port, address):
    """A `tf.data.experimental.service.WorkerServer`, running.

    Args:
        dispatcher_address: HOST:PORT.
        port: to listen at, 0 for one that is free.
        address: the name of this machine.
    """
    import tensorflow as tf

    check_dispatcher(dispatcher_address)
    service = tf.data.experimental.service
    return service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address,
            worker_address=f"{address}:%port%",
            port=port,
        )
    )


def check_dispatcher(address):
    """Refuses an address that nothing listens at: TensorFlow would wait for it.

    Raises:
        ValueError: if it is none.
        ConnectionError: if nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"Expected the dispatcher's HOST:PORT. Received: {address!r}."
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"Expected the dispatcher of a data service at {address}. Received: "
            f"{error}. Start one: python -m alexnet_tf.serve_data --port={port}."
        ) from error
