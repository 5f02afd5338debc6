"""What is decoded of a folder of pictures."""

import os

from minidl.data import image_folder


def decoded(monkeypatch):
    """A list that gets the name of each file that is decoded."""
    names, read = [], image_folder.read

    def noted(path, *args):
        names.append(os.path.basename(path))
        return read(path, *args)

    monkeypatch.setattr(image_folder, "read", noted)
    return names
