"""Draws Figures 3 and 4 of the paper, and other figures of a trained network.

    python -m alexnet_tf.visualize --figure=kernels --weights=runs/textures-tiny \\
        --output=kernels.png
    python -m alexnet_tf.visualize --figure=neighbors --weights=runs/textures-tiny \\
        --index_output=fc7.npz --output=neighbors.png
"""

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    cli.enum_flag(
        "figure",
        None,
        [
            "kernels", "predictions", "neighbors", "crops", "activations",
            "norms", "dropout", "normalization", "receptive_fields", "occlusion",
            "saliency", "guided_backprop", "deconv", "patches", "embedding",
            "confusion", "architecture", "kernel_epochs",
        ],
        "kernels: the kernels of the first layer, by towers (Fig. 3). predictions: "
        "images of a split with their most probable classes (Fig. 4, left): the most "
        "confident correct and wrong predictions, and the least confident ones. "
        "neighbors: images of a split with the images of the training "
        "split whose features are nearest (Fig. 4, right). crops: the crops that "
        "training makes of one image. activations: the strongest activations of each "
        "layer for one image. norms: the magnitudes of the weights of each layer. "
        "dropout: averages over networks that dropout samples, compared with the full "
        "network. normalization: neighboring maps before and after response "
        "normalization for one image. receptive_fields: the pixels that the central "
        "output of each layer sees; also prints a table of them. "
        "occlusion: how the probability of a class changes if a gray square covers a "
        "part of the image (Zeiler and Fergus 2014). saliency: the gradient of the "
        "score of a class with respect to the pixels (Simonyan et al. 2014). "
        "guided_backprop: the same, with negative gradients removed at each ReLU "
        "(Springenberg et al. 2015). deconv: activations of units projected back to "
        "the pixels (Zeiler and Fergus 2014). patches: the nine image patches of the "
        "split that excite a unit most. embedding: the features of the split in two "
        "dimensions, with images at their positions. confusion: the number of images "
        "by true and predicted class. architecture: the layers of --weights or of "
        "--preset (Fig. 2). kernel_epochs: the kernels of the first layer over the "
        "epochs of a run; --output may be a .gif for an animation.",
        required=True,
    ),
    *cli.weights_flags(f"{cli.WEIGHTS_HELP} Required, except for architecture."),
    cli.multi_string_flag(
        "image",
        [],
        "Image to show instead of images of a split: a file, a folder, a glob pattern "
        "or list:FILE, as for alexnet_tf.predict. May be given several times for "
        "predictions, neighbors, occlusion, saliency, guided_backprop and deconv, and "
        "once for crops, activations, normalization and receptive_fields.",
    ),
    cli.string_flag(
        "class_name",
        None,
        "Name or index of the class that occlusion, saliency and guided_backprop "
        "explain. Default: the predicted class.",
    ),
    cli.integer_flag(
        "unit",
        None,
        "Index of the unit of --layer that deconv and patches show, from 0. Default: "
        "the --count units with the largest activations.",
        lower_bound=0,
    ),
    cli.enum_flag(
        "projection",
        "pca",
        ["pca", "tsne"],
        "How embedding places images in two dimensions. tsne requires scikit-learn.",
    ),
    *cli.data_flags(
        "Data set, as for alexnet_tf.train. Default: that of the run or of the "
        "published weights; textures for a weights file.",
        "Split to show. Default: the run's eval_split, or validation or test.",
    ),
    cli.integer_flag(
        "count",
        None,
        "Number of images, of crops of one image, of maps or units of a layer, or of "
        "epochs to show. Default: 8; 9 for predictions, 3 for occlusion, 500 for "
        "embedding, and 200 for dropout, which measures errors on these images.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "seed",
        0,
        "Random seed of the choice of images, of crops, of dropout, and of the "
        "initialization that norms compares with.",
    ),
    cli.string_flag(
        "layer",
        None,
        "Layer whose features define the nearest neighbors or the embedding, or input "
        "for the pixels. Default: the penultimate layer. For deconv and patches, the "
        "layer of the units. Default: the last convolution.",
    ),
    cli.enum_flag(
        "metric", "l2", ["l2", "cosine"], "Distance between features."
    ),
    cli.path_flag(
        "index",
        None,
        "Retrieval index of the training split, a file that was written with "
        "--index_output. Default: the index is computed.",
    ),
    cli.path_flag(
        "index_output", None, "File (.npz) to write the computed index to."
    ),
    cli.path_flag(
        "output",
        None,
        "PNG file to write. Required, except for --figure=receptive_fields, which "
        "prints a table too.",
    ),
    cli.exclusive_flags(["index", "index_output"]),
]


def _visualize(args):
    from alexnet_tf.figures import draw

    if args.figure == "receptive_fields":
        print(draw.receptive_field_table(args.weights, args.preset, args.layout))
        if not args.output:
            return
    draw.draw(
        args.figure,
        args.output,
        weights=args.weights,
        preset=args.preset,
        layout=args.layout,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        image_key=args.image_key,
        label_key=args.label_key,
        images=args.image,
        class_name=args.class_name,
        unit=args.unit,
        projection=args.projection,
        count=args.count,
        seed=args.seed,
        layer=args.layer,
        metric=args.metric,
        index=args.index,
        index_output=args.index_output,
        verbose=cli.progress(),
    )
    for path in (args.index_output, args.output):
        if path:
            print(path)


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.visualize", _visualize, FLAGS, argv)


if __name__ == "__main__":
    main()
