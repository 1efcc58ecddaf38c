"""Folders of files for tests."""


def write_files(root, *names):
    """Writes files below `root` that contain their names instead of images."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
